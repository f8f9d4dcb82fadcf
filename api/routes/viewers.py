"""What is known of viewers: read, exported, merged, erased."""

from typing import Any

from flask import Blueprint, Response, g

from api.operations import operation
from api.routes import service
from api.schemas.viewers import (
    ErasureReceipt,
    ExportAnswer,
    HistoryAnswer,
    HistoryQuery,
    MergeAnswer,
    MergeRequest,
)

blueprint = Blueprint("viewers", __name__, url_prefix="/v1")


@operation(blueprint, "GET", "/users/<path:user_id>/history", role="read", query=HistoryQuery, answer=HistoryAnswer)
def get_history(user_id: str, query: HistoryQuery) -> dict[str, Any]:
    """What a viewer did, newest first, in pages."""
    return service().viewers.history(user_id, query)


@operation(blueprint, "GET", "/users/<path:user_id>/export", role="admin", answer=ExportAnswer)
def export_viewer(user_id: str) -> Response:
    """All that is known of a viewer, as one document."""
    return Response(service().viewers.export(user_id, g.request_id), content_type="application/json")


@operation(blueprint, "DELETE", "/users/<path:user_id>", role="admin", answer=ErasureReceipt)
def erase_viewer(user_id: str) -> dict[str, Any]:
    """Erases a viewer everywhere, and gives a receipt."""
    return service().viewers.erase(user_id)


@operation(blueprint, "POST", "/users/<path:user_id>/merge", role="ingest", body=MergeRequest, answer=MergeAnswer)
def merge_viewer(user_id: str, body: MergeRequest) -> dict[str, Any]:
    """Makes what a guest did this user's."""
    return service().viewers.merge(body.guest_id, user_id)
