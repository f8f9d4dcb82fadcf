"""What viewers did."""

from typing import Any

from flask import Blueprint

from api.operations import operation
from api.routes import service
from api.schemas.events import EventAnswer, EventBatch, RetractionAnswer

blueprint = Blueprint("events", __name__, url_prefix="/v1")


@operation(
    blueprint, "POST", "/events", role="ingest", body=EventBatch, answer=EventAnswer, status=202, repeatable=True
)
def post_events(body: EventBatch) -> dict[str, Any]:
    """A batch of events, answered after the commit, with a result for each row."""
    return service().record(body.events)


@operation(blueprint, "DELETE", "/events/<path:event_id>", role="ingest", answer=RetractionAnswer)
def delete_event(event_id: str) -> dict[str, Any]:
    """Takes back an event: the next list is made without it."""
    return service().viewers.retract(event_id)
