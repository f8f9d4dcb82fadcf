"""What a request is called, in its answer, in logs and by the events that come of it."""

import re
import secrets
from typing import Any

_GOOD = re.compile(r"[\x21-\x7e]{1,200}")


def request_id_of(environ: dict[str, Any]) -> str:
    """The one that was sent along, where it is a good one, else a new one."""
    given: str = environ.get("HTTP_X_REQUEST_ID", "")
    return given if _GOOD.fullmatch(given) else secrets.token_hex(8)
