"""Who may ask. Without any key the service answers loopback only; with keys every request needs one.

`Authorization: Bearer KEY`, roles read < ingest < admin. Keys are looked up by their hash; an answer is remembered
for a few seconds, so a revoked key ends within `REMEMBER_S`.
"""

import ipaddress
import time

from flask import Flask, request

from api.errors import Problem
from data.store import ApiKeys

REMEMBER_S = 5.0
RANK = {"read": 0, "ingest": 1, "admin": 2}
_EXTENSION = "watchnext_auth"


class Gatekeeper:
    def __init__(self, keys: ApiKeys) -> None:
        self._keys = keys
        self._roles: dict[str, tuple[float, str | None]] = {}
        self._open: tuple[float, bool] = (0.0, False)

    def no_keys(self) -> bool:
        """Whether no key is configured."""
        now = time.monotonic()
        if now >= self._open[0]:
            self._open = (now + REMEMBER_S, not self._keys.any())
        return self._open[1]

    def role_of(self, secret: str) -> str | None:
        now = time.monotonic()
        known = self._roles.get(secret)
        if known is None or now >= known[0]:
            if len(self._roles) > 10_000:
                self._roles.clear()
            known = (now + REMEMBER_S, self._keys.role_of(secret))
            self._roles[secret] = known
        return known[1]


def install(app: Flask, keys: ApiKeys) -> None:
    app.extensions[_EXTENSION] = Gatekeeper(keys)


def require_role(role: str) -> None:
    """Raises Problem 401 or 403 unless this request may do what `role` may."""
    from flask import current_app

    gatekeeper: Gatekeeper = current_app.extensions[_EXTENSION]
    if gatekeeper.no_keys():
        if not (is_loopback(request.remote_addr or "") and _names_loopback(request.host)):
            raise Problem(
                403,
                "loopback_only",
                "no API key is configured, so only loopback is answered; see `watchnext keys create`",
            )
        return
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    held = gatekeeper.role_of(secret.strip()) if scheme.lower() == "bearer" and secret else None
    if held is None:
        raise Problem(401, "unauthenticated", "send Authorization: Bearer KEY", {"WWW-Authenticate": "Bearer"})
    if RANK[held] < RANK[role]:
        raise Problem(403, "forbidden", f"this needs a key of role {role}; this one is of role {held}")


def is_loopback(address: str) -> bool:
    """Whether an address to bind to, or of a client, is this machine's own."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _names_loopback(host: str) -> bool:
    # A page from elsewhere could point its own name at 127.0.0.1; a loopback service is asked by a loopback name.
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    return is_loopback(name.strip("[]"))
