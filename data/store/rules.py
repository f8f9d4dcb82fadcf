"""Editors' rules in SQL: pins, boosts and blocks. What they do to a list is `recommender.policy`'s business."""

import secrets
import time

import sqlalchemy as sa

from data.schema import Rule, RuleKind, RuleRecord
from data.store.tables import rules, videos
from data.store.writing import next_version, writing

#: SQL has other plans for the word FROM.
_COLUMN_OF_FIELD = {"from_": "valid_from", "until": "valid_until"}


class Rules:
    """Every write counts the catalogue's version up, by which running servers notice it."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def add(self, rule: Rule) -> RuleRecord:
        """Keeps a rule from now on. Raises ValueError when it is about a video that the catalogue does not know."""
        record = RuleRecord.model_validate(rule.model_dump() | {"id": secrets.token_hex(4), "created_at": time.time()})
        row = {_COLUMN_OF_FIELD.get(name, name): value for name, value in record.model_dump().items()}
        with writing(self._engine) as connection:
            # First of all, because it holds other catalogue writers: the video cannot be removed meanwhile.
            next_version(connection)
            known = sa.select(videos.c.id).where(videos.c.id == rule.video, videos.c.removed.is_(False))
            if rule.video is not None and connection.execute(known).first() is None:
                raise ValueError(f"no video {rule.video!r} in the catalogue")
            connection.execute(sa.insert(rules).values(row | {"kind": rule.kind.value}))
        return record

    def list(self) -> list[RuleRecord]:
        """All rules, oldest first, also those whose time has passed or has not come."""
        query = sa.select(rules).order_by(rules.c.created_at, rules.c.id)
        with self._engine.connect() as connection:
            return [_record(row) for row in connection.execute(query).mappings()]

    def remove(self, rule_id: str) -> bool:
        """Ends a rule; False when there is none of this id."""
        with writing(self._engine) as connection:
            next_version(connection)
            return connection.execute(sa.delete(rules).where(rules.c.id == rule_id)).rowcount == 1


def _record(row: sa.RowMapping) -> RuleRecord:
    fields = {name: row[_COLUMN_OF_FIELD.get(name, name)] for name in RuleRecord.model_fields}
    return RuleRecord.model_construct(**fields | {"kind": RuleKind(row["kind"])})
