"""API keys: stored as hashes, shown once. Knows nothing of HTTP."""

import hashlib
import secrets
import time
from dataclasses import dataclass

import sqlalchemy as sa

from data.store.tables import api_keys
from data.store.writing import writing

ROLES = ("read", "ingest", "admin")


@dataclass(frozen=True)
class ApiKey:
    """A key without its secret. `role`: read (recommend), ingest (events, catalogue), admin (all)."""

    id: str
    name: str
    role: str
    created_at: float
    revoked_at: float | None


def _hash(secret: str) -> str:
    # The secrets are 256 random bits, so a plain hash cannot be searched; no slow password hash is needed.
    return hashlib.sha256(secret.encode()).hexdigest()


class ApiKeys:
    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def create(self, name: str, role: str) -> tuple[ApiKey, str]:
        """A new key and its secret, which is not kept and cannot be shown again.

        Raises ValueError for an unknown role.
        """
        if role not in ROLES:
            raise ValueError(f"role must be one of {', '.join(ROLES)}, not {role!r}")
        secret = "wn_" + secrets.token_urlsafe(32)
        key = ApiKey(secrets.token_hex(4), name, role, time.time(), None)
        with writing(self._engine) as connection:
            connection.execute(sa.insert(api_keys).values(**key.__dict__, secret_hash=_hash(secret)))
        return key, secret

    def list(self) -> list[ApiKey]:
        columns = [column for column in api_keys.c if column.name != "secret_hash"]
        with self._engine.connect() as connection:
            return [
                ApiKey(**row)
                for row in connection.execute(sa.select(*columns).order_by(api_keys.c.created_at)).mappings()
            ]

    def revoke(self, key_id: str) -> bool:
        """Ends a key at once; False when there is no live key of this id."""
        statement = (
            sa.update(api_keys)
            .where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
            .values(revoked_at=time.time())
        )
        with writing(self._engine) as connection:
            return connection.execute(statement).rowcount == 1

    def role_of(self, secret: str) -> str | None:
        """The role of a live key, or None."""
        statement = sa.select(api_keys.c.role).where(
            api_keys.c.secret_hash == _hash(secret), api_keys.c.revoked_at.is_(None)
        )
        with self._engine.connect() as connection:
            return connection.execute(statement).scalar()

    def any(self) -> bool:
        """Whether a key was ever created: revoking the last one closes the door, it does not open it."""
        with self._engine.connect() as connection:
            return connection.execute(sa.select(api_keys.c.id).limit(1)).first() is not None
