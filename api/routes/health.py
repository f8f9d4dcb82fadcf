"""For machines that watch: alive, ready, metrics. Alive and ready are answered to anybody."""

from flask import Blueprint, Response

from api.auth import require_role
from api.operations import json_response
from api.routes import service

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    """200 while the process answers."""
    return json_response({"status": "ok"})


@blueprint.get("/readyz")
def readyz() -> Response:
    """200 when lists can be served; says which parts are away."""
    state = service().readiness()
    return json_response(state, 200 if state["ready"] else 503)


@blueprint.get("/metrics")
def metrics() -> Response:
    """Prometheus text format, of all worker processes."""
    require_role("read")
    return Response(service().telemetry.exposition(), content_type="text/plain; version=0.0.4; charset=utf-8")
