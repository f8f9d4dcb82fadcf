"""The routes under /v1, a blueprint for each noun. They translate HTTP; `api.service` does the work."""

from collections.abc import Mapping
from typing import Any

from flask import current_app, request

from api.budget import Budget
from api.errors import Problem
from api.pressure import CAME_AT
from api.service import Service

DEADLINE = "X-Deadline-Ms"
#: The same in a WSGI environment.
DEADLINE_VARIABLE = "HTTP_X_DEADLINE_MS"


def service() -> Service:
    """The service of the application that handles this request."""
    found: Service = current_app.extensions["watchnext"]
    return found


def asked_budget() -> Budget:
    """The time that this request may take. Raises Problem 422."""
    return budget_of(service(), request.environ)


def budget_of(service: Service, environ: Mapping[str, Any]) -> Budget:
    """The time that a request may take, its wait for a place included, by its WSGI environment. Raises Problem 422."""
    given, came_at = environ.get(DEADLINE_VARIABLE), environ.get(CAME_AT)
    if given is None:
        return service.budget(began=came_at)
    if not (given.isascii() and given.isdigit() and 1 <= int(given[:9]) <= 60_000 and len(given) < 9):
        raise Problem(
            422, "invalid_request", f"{DEADLINE} is a whole number of milliseconds, 1 to 60000", field=DEADLINE
        )
    return service.budget(float(given), came_at)
