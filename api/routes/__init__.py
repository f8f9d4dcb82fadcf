"""The routes under /v1, a blueprint for each noun. They translate HTTP; `api.service` does the work."""

from flask import current_app

from api.service import Service


def service() -> Service:
    """The service of the application that handles this request."""
    found: Service = current_app.extensions["watchnext"]
    return found
