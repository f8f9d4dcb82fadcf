"""The catalogue."""

from typing import Any

from flask import Blueprint, request

from api.catalogue import unknown_video
from api.cursors import as_bytes, as_text, damaged
from api.errors import Problem
from api.operations import operation
from api.routes import service
from api.schemas.common import Asked
from api.schemas.videos import (
    HiddenAnswer,
    MediaAnswer,
    RemovedAnswer,
    VideoAnswer,
    VideoBatch,
    VideoBatchAnswer,
    VideoChange,
    VideoOut,
    VideosAnswer,
    VideosQuery,
)
from data.schema import VideoRecord, VideoState, to_rfc3339

blueprint = Blueprint("videos", __name__, url_prefix="/v1")
#: What a client may call a media file; what it is the file itself tells.
UNKNOWN = {404: ("unknown_video",)}
MEDIA_TYPES = ("video/*", "application/octet-stream", "application/mxf", "application/ogg", "image/gif")
_TIMES = ("published_at", "available_from", "available_until")


@operation(blueprint, "GET", "/videos", role="read", query=VideosQuery, answer=VideosAnswer)
def list_videos(query: VideosQuery) -> dict[str, Any]:
    """The catalogue in pages, in the order of ids."""
    after = "" if query.cursor is None else _last_id(query.cursor)
    state = VideoState(query.state) if query.state else None
    page = service().store.catalogue.page(after, query.limit + 1, state, query.label)
    shown = page[: query.limit]
    has_more = len(page) > query.limit
    cursor = as_text(shown[-1].id.encode()) if has_more else None
    return {"items": [video_out(record) for record in shown], "cursor": cursor, "has_more": has_more}


@operation(blueprint, "POST", "/videos", role="ingest", body=VideoBatch, answer=VideoBatchAnswer, idempotent=True)
def post_videos(body: VideoBatch) -> dict[str, Any]:
    """A batch of videos, answered after the commit, with a result for each row."""
    return service().catalogue.describe(body.videos)


@operation(blueprint, "GET", "/videos/<path:video_id>", role="read", answer=VideoAnswer, problems=UNKNOWN)
def get_video(video_id: str) -> tuple[dict[str, Any], dict[str, str]]:
    """One video."""
    return _with_etag(service().catalogue.get(video_id))


@operation(
    blueprint,
    "PATCH",
    "/videos/<path:video_id>",
    role="ingest",
    body=VideoChange,
    answer=VideoAnswer,
    headers=("If-Match",),
    problems={404: ("unknown_video",), 412: ("precondition_failed",)},
)
def patch_video(video_id: str, body: Asked) -> tuple[dict[str, Any], dict[str, str]]:
    """Changes the given fields of a video; null clears one."""
    return _with_etag(service().catalogue.change(video_id, body.model_dump(exclude_unset=True), _versions_asked_for()))


@operation(blueprint, "DELETE", "/videos/<path:video_id>", role="ingest", answer=RemovedAnswer)
def delete_video(video_id: str) -> dict[str, Any]:
    """Removes a video: with the next request no list has it."""
    return {"video_id": video_id, "removed": service().catalogue.remove(video_id)}


@operation(
    blueprint,
    "PUT",
    "/videos/<path:video_id>/media",
    role="ingest",
    answer=MediaAnswer,
    status=202,
    content=MEDIA_TYPES,
    content_description="the file itself",
    problems={
        400: ("incomplete_body",),
        404: ("unknown_video",),
        411: ("length_required",),
        415: ("not_a_video",),
        503: ("too_many_uploads",),
    },
)
def put_media(video_id: str) -> dict[str, Any]:
    """Takes the file of a video, which then waits for the encoder."""
    record = service().catalogue.get(video_id)
    if request.content_length is None:
        # Of a body in chunks the server does not tell where it was broken off.
        raise Problem(411, "length_required", "send the file with its Content-Length, not in chunks")
    request.max_content_length = service().settings.server.max_media_bytes
    changed = service().uploads.receive(record, request.stream, request.content_length, request.mimetype)
    record = service().catalogue.get(video_id)
    return {"video_id": video_id, "state": record.state, "content_hash": record.content_hash, "changed": changed}


@operation(
    blueprint,
    "POST",
    "/videos/<path:video_id>/hide",
    role="admin",
    answer=HiddenAnswer,
    problems=UNKNOWN,
    repeatable=True,
)
def hide_video(video_id: str) -> dict[str, Any]:
    """Takes a video down: with the next request no list has it."""
    return _set_hidden(video_id, True)


@operation(
    blueprint,
    "POST",
    "/videos/<path:video_id>/unhide",
    role="admin",
    answer=HiddenAnswer,
    problems=UNKNOWN,
    repeatable=True,
)
def unhide_video(video_id: str) -> dict[str, Any]:
    """Puts a video back."""
    return _set_hidden(video_id, False)


def video_out(record: VideoRecord) -> dict[str, Any]:
    """A record as the API shows it: texts for times, no paths of the server."""
    fields = {name: getattr(record, name) for name in VideoOut.model_fields}
    return fields | {name: None if fields[name] is None else to_rfc3339(fields[name]) for name in _TIMES}


def _with_etag(record: VideoRecord) -> tuple[dict[str, Any], dict[str, str]]:
    return video_out(record), {"ETag": f'"{record.version}"'}


def _versions_asked_for() -> list[int] | None:
    """The versions that `If-Match` names; None where any will do."""
    if "If-Match" not in request.headers or request.if_match.star_tag:
        return None
    return [int(tag) for tag in request.if_match.as_set() if tag and tag.isdecimal() and len(tag) < 19]


def _set_hidden(video_id: str, hidden: bool) -> dict[str, Any]:
    if not service().store.catalogue.set_hidden(video_id, hidden):
        raise unknown_video(video_id)
    return {"video_id": video_id, "hidden": hidden}


def _last_id(cursor: str) -> str:
    """The id that the page before ended with. Raises Problem 400 `invalid_cursor`."""
    try:
        last = as_bytes(cursor).decode()
    except UnicodeDecodeError:
        raise damaged() from None
    if not last or any(character < " " for character in last):
        raise damaged()
    return last
