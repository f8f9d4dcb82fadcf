"""Who may ask. Without any key the service answers loopback only; with keys every request needs one.

`Authorization: Bearer KEY`, roles read < ingest < admin. Keys are looked up by their hash; an answer is remembered
for a few seconds, so a revoked key ends within `REMEMBER_S`.
"""

import contextlib
import ipaddress
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, current_app, request

from api.errors import Problem
from data.store import ApiKeys

REMEMBER_S = 5.0
REMEMBERED_KEYS = 10_000
PROXY_HEADERS = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_HOST", "HTTP_X_REAL_IP")
RANK = {"read": 0, "ingest": 1, "admin": 2}
_EXTENSION = "watchnext_auth"


class Gatekeeper:
    """Remembers what the database said of keys; while it does not answer, what it said last holds."""

    def __init__(self, keys: ApiKeys) -> None:
        self._keys = keys
        self._roles: dict[str, tuple[float, str | None]] = {}
        self._no_keys = not keys.any()
        self._ask_again_at = 0.0

    def no_keys(self) -> bool:
        """Whether no key is configured."""
        now = time.monotonic()
        if now >= self._ask_again_at:
            self._ask_again_at = now + REMEMBER_S
            with contextlib.suppress(Exception):
                self._no_keys = not self._keys.any()
        return self._no_keys

    def role_of(self, secret: str) -> str | None:
        """The role of a key, None for a wrong one. Raises Problem 503 when that cannot be found out now."""
        now = time.monotonic()
        known = self._roles.get(secret)
        if known is not None and now < known[0]:
            return known[1]
        try:
            role = self._keys.role_of(secret)
        except Exception:
            if known is None:
                raise Problem(
                    503, "keys_unavailable", "keys cannot be checked now; try again", {"Retry-After": "1"}
                ) from None
            role = known[1]
        if len(self._roles) > REMEMBERED_KEYS:
            self._roles.clear()
        self._roles[secret] = (now + REMEMBER_S, role)
        return role

    def refusal(self, role: str, environ: Mapping[str, Any]) -> Problem | None:
        """Problem 401 or 403 for a request, by its WSGI environment, that may not do what `role` may. Raises as
        `role_of`."""
        if self.no_keys():
            if _comes_from_this_machine(environ):
                return None
            return Problem(
                403,
                "loopback_only",
                "no API key is configured, so only loopback is answered; see `watchnext keys create`",
            )
        scheme, _, secret = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        held = self.role_of(secret.strip()) if scheme.lower() == "bearer" and secret else None
        if held is None:
            return Problem(401, "unauthenticated", "send Authorization: Bearer KEY", {"WWW-Authenticate": "Bearer"})
        if RANK[held] < RANK[role]:
            return Problem(403, "forbidden", f"this needs a key of role {role}; this one is of role {held}")
        return None


def install(app: Flask, keys: ApiKeys) -> Gatekeeper:
    gatekeeper = app.extensions[_EXTENSION] = Gatekeeper(keys)
    return gatekeeper


def require_role(role: str) -> None:
    """Raises Problem 401 or 403 unless this request may do what `role` may."""
    gatekeeper: Gatekeeper = current_app.extensions[_EXTENSION]
    refusal = gatekeeper.refusal(role, request.environ)
    if refusal is not None:
        raise refusal


@lru_cache(1_024)
def is_loopback(address: str) -> bool:
    """Whether an address to bind to, or of a client, is this machine's own."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _comes_from_this_machine(environ: Mapping[str, Any]) -> bool:
    """Whether a request was sent by a program here, and not passed on by a proxy or sent by a page from elsewhere."""
    host = environ.get("HTTP_HOST") or environ["SERVER_NAME"]
    if any(map(environ.__contains__, PROXY_HEADERS)) or not _names_loopback(host):
        return False
    if not is_loopback(environ.get("REMOTE_ADDR") or ""):
        return False
    if environ["REQUEST_METHOD"] in ("GET", "HEAD", "OPTIONS"):
        return True
    origin = environ.get("HTTP_ORIGIN")
    return origin is None or _is_loopback_origin(origin)


def _is_loopback_origin(origin: str) -> bool:
    try:
        return _names_loopback(urlsplit(origin).netloc)
    except ValueError:
        return False


@lru_cache(1_024)
def _names_loopback(host: str) -> bool:
    # A page from elsewhere could point its own name at 127.0.0.1; a loopback service is asked by a loopback name.
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    return is_loopback(name.strip("[]"))
