"""The catalogue."""

import base64
import binascii
from typing import Any

from flask import Blueprint

from api.errors import Problem
from api.operations import operation
from api.routes import service
from api.schemas.videos import HiddenAnswer, VideoOut, VideosAnswer, VideosQuery
from api.service import unknown_video
from data.schema import VideoRecord, VideoState, to_rfc3339

blueprint = Blueprint("videos", __name__, url_prefix="/v1")
_TIMES = ("published_at", "available_from", "available_until")


@operation(blueprint, "GET", "/videos", role="read", query=VideosQuery, answer=VideosAnswer)
def list_videos(query: VideosQuery) -> dict[str, Any]:
    """The catalogue in pages, in the order of ids."""
    after = _decoded(query.cursor) if query.cursor else ""
    state = VideoState(query.state) if query.state else None
    page = service().store.catalogue.page(after, query.limit + 1, state, query.label)
    shown = page[: query.limit]
    has_more = len(page) > query.limit
    cursor = base64.urlsafe_b64encode(shown[-1].id.encode()).decode() if has_more else None
    return {"items": [video_out(record) for record in shown], "cursor": cursor, "has_more": has_more}


@operation(blueprint, "GET", "/videos/<path:video_id>", role="read", answer=VideoOut)
def get_video(video_id: str) -> dict[str, Any]:
    """One video."""
    record = service().store.catalogue.get(video_id)
    if record is None:
        raise unknown_video(video_id)
    return video_out(record)


@operation(blueprint, "POST", "/videos/<path:video_id>/hide", role="admin", answer=HiddenAnswer)
def hide_video(video_id: str) -> dict[str, Any]:
    """Takes a video down: with the next request no list has it."""
    return _set_hidden(video_id, True)


@operation(blueprint, "POST", "/videos/<path:video_id>/unhide", role="admin", answer=HiddenAnswer)
def unhide_video(video_id: str) -> dict[str, Any]:
    """Puts a video back."""
    return _set_hidden(video_id, False)


def video_out(record: VideoRecord) -> dict[str, Any]:
    """A record as the API shows it: texts for times, no paths of the server."""
    fields = {name: getattr(record, name) for name in VideoOut.model_fields}
    return fields | {name: None if fields[name] is None else to_rfc3339(fields[name]) for name in _TIMES}


def _set_hidden(video_id: str, hidden: bool) -> dict[str, Any]:
    if not service().store.catalogue.set_hidden(video_id, hidden):
        raise unknown_video(video_id)
    return {"video_id": video_id, "hidden": hidden}


def _decoded(cursor: str) -> str:
    try:
        after = base64.urlsafe_b64decode(cursor.encode()).decode()
        if not after.isprintable():
            raise ValueError
        return after
    except (binascii.Error, ValueError):
        raise Problem(
            400, "invalid_cursor", "this cursor is damaged; ask for the first page again", field="cursor"
        ) from None
