"""The storefront: one page of rows of videos for a viewer, to see what the service recommends and to change it.

Plain templates and htmx; what viewers do goes to `POST /v1/events` like from any other front end. Knows how things
look, not how they are chosen: that is asked of `rows`, which asks the service.
"""

import mimetypes
import secrets
import time
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from threading import Semaphore
from weakref import finalize

from flask import Blueprint, Response, current_app, g, render_template, request, send_file, send_from_directory
from pydantic import TypeAdapter, ValidationError

from api.auth import require_role
from api.errors import Problem
from api.home_page import Viewing, is_open, viewings
from api.routes import service
from api.service import unknown_video
from api.web.placeholders import placeholder
from api.web.rows import Page, build_page, clock, up_next, viewer_name
from data.schema import SURE_FROM, Identifier, VideoRecord

STATIC = Path(__file__).parent / "static"
HTMX = "vendor/htmx-2.0.11.min.js"
#: All that the page needs comes from here, and nothing in it is inline.
CONTENT_POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
YEAR_S = 365 * 86_400
#: Counting every viewer's events takes long over many events, so the list of viewers may be this old.
VIEWERS_S = 60.0
TONES = 8
_EXTENSION = "watchnext_storefront"
_IDENTIFIER: TypeAdapter[str] = TypeAdapter(Identifier)

#: Files that a process sends at a time; a player that pauses keeps one on its way.
SENT_AT_ONCE = 64
_SENDING = Semaphore(SENT_AT_ONCE)

blueprint = Blueprint("storefront", __name__, template_folder="templates")


@dataclass
class _Viewers:
    """The most active viewers, remembered for a while."""

    most_active: list[tuple[str, int]] = field(default_factory=list)
    until: float = 0.0


@dataclass(frozen=True)
class PlayerLabel:
    """A label in the player; `confidence` only where the machine gave it."""

    name: str
    confidence: float | None


@blueprint.before_request
def _admit() -> None:
    require_role("read")


@blueprint.after_request
def _guard(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = CONTENT_POLICY
    response.headers["Referrer-Policy"] = "same-origin"
    if response.mimetype == "text/html":
        response.headers["Cache-Control"] = "no-store"
    return response


# ---- The page and its parts --------------------------------------------------------------------------------


@blueprint.get("/")
def page() -> str:
    """The whole page of a viewer; without one, of the most active."""
    viewer = _asked_viewer() or _default_viewer()
    return render_template("storefront/page.html", **_page_values(build_page(service(), viewer, g.request_id)))


@blueprint.get("/storefront/rows")
def rows() -> str:
    """What of the page depends on the viewer."""
    viewer = _asked_viewer() or _default_viewer()
    values = _page_values(build_page(service(), viewer, g.request_id))
    return render_template("storefront/rows.html", **values)


@blueprint.get("/storefront/viewers")
def viewers() -> str:
    """The list of the viewer switcher."""
    return render_template("storefront/viewers.html", viewers=_most_active(), viewer=_asked_viewer(), tone=tone)


@blueprint.get("/storefront/player/<path:video_id>")
def player(video_id: str) -> str:
    """What the player overlay shows of one video."""
    record = _open_video(video_id)
    viewer = _asked_viewer() or _default_viewer()
    return render_template(
        "storefront/player.html",
        video=record,
        viewer=viewer,
        viewing=_viewing(viewer, video_id),
        labels=_player_labels(record),
        duration=clock(record.duration_s),
        row=up_next(service(), viewer, video_id, g.request_id),
        list_id=request.args.get("list", "")[:200],
        position=request.args.get("position", type=int),
        media_type=_media_type(record.media_path),
    )


def _page_values(made: Page) -> dict[str, object]:
    return {
        "page": made,
        "viewer": made.viewer,
        "viewer_name": viewer_name(made.viewer),
        "tone": tone,
        "new_guest": f"guest-{secrets.token_hex(3)}",
        "htmx": HTMX,
        "asset_version": _asset_version(),
    }


def tone(viewer: str) -> int:
    """The number of the colour that a viewer always has."""
    return sha256(viewer.encode()).digest()[0] % TONES


# ---- Files -------------------------------------------------------------------------------------------------


@blueprint.get("/storefront/static/<path:name>")
def static(name: str) -> Response:
    """Scripts, styles and drawings of this page; addressed with the version that is in the query, kept for a year."""
    return _kept(send_from_directory(STATIC, name))


@blueprint.get("/thumbnails/<path:video_id>")
def thumbnail(video_id: str) -> Response:
    """The still picture of a video that was taken when it was encoded; a drawn one where there is none."""
    record = _open_video(video_id)
    path = service().home.root / (record.thumbnail_path or "")
    if record.thumbnail_path and path.is_file():
        return _kept(send_file(path, conditional=True))
    drawn = Response(placeholder(record.id, record.title), content_type="image/svg+xml; charset=utf-8")
    drawn.add_etag()
    drawn.make_conditional(request)
    # A real picture may come, and then the address has another version; one that is lost may come back under this.
    return _kept(drawn) if record.thumbnail_path is None else drawn


@blueprint.get("/media/<path:video_id>")
def media(video_id: str) -> Response:
    """The video itself, in the ranges that a browser asks for; it asks again each time, so that takedowns count."""
    record = _open_video(video_id)
    if record.media_path is None:
        raise Problem(404, "no_media", f"video {video_id!r} is known by its metadata alone")
    path = service().home.media / record.media_path
    if not path.is_file():
        raise Problem(404, "media_missing", f"the media file of video {video_id!r} is not where the catalogue says")
    if not _SENDING.acquire(blocking=False):
        detail = "as many files as this process sends are on their way; come again"
        raise Problem(503, "too_many_downloads", detail, {"Retry-After": "5"})
    try:
        response = send_file(path, mimetype=_media_type(record.media_path), conditional=True)
    except BaseException:
        _SENDING.release()
        raise
    # Who has gone does not say so: the file is being sent until nobody holds it any more.
    finalize(response.response, _SENDING.release)
    return response


def _kept(response: Response) -> Response:
    """With a version in the address for a year, else for minutes; by the browser that asked, which may have a key."""
    response.cache_control.no_cache = None
    response.cache_control.private = True
    response.cache_control.max_age = YEAR_S if "v" in request.args else 300
    return response


def _asset_version() -> str:
    """Changes with the files, so that a browser never mixes those of two versions."""
    newest = max((STATIC / name).stat().st_mtime_ns for name in ("storefront.css", "storefront.js"))
    return f"{newest:x}"


def _media_type(path: str | None) -> str:
    """The type of a media file by its name; nothing that a browser would run."""
    guessed = mimetypes.guess_type(path or "", strict=False)[0] or ""
    return guessed if guessed.startswith(("video/", "audio/")) else "application/octet-stream"


# ---- Viewers and videos ------------------------------------------------------------------------------------


def _asked_viewer() -> str | None:
    """The viewer in the query, None without one. Raises Problem 422 for what cannot be a viewer's id."""
    given = request.args.get("viewer", "").strip()
    if not given:
        return None
    try:
        return _IDENTIFIER.validate_python(given)
    except ValidationError:
        raise Problem(
            422, "invalid_request", "viewer: up to 200 characters without control characters", field="viewer"
        ) from None


def _default_viewer() -> str:
    found = _most_active()
    return found[0][0] if found else "guest"


def _most_active() -> list[tuple[str, int]]:
    remembered: _Viewers = current_app.extensions.setdefault(_EXTENSION, _Viewers())
    now = time.monotonic()
    if now >= remembered.until:
        try:
            remembered.most_active = service().store.events.viewers(100)
        except Exception:
            current_app.logger.exception("the viewers cannot be read")
        remembered.until = now + (VIEWERS_S if remembered.most_active else 1.0)
    return remembered.most_active


def _open_video(video_id: str) -> VideoRecord:
    """A video that may be shown now. Raises Problem 404 for any other."""
    record = service().store.catalogue.get(video_id)
    if record is None:
        raise unknown_video(video_id)
    if not is_open(record):
        raise Problem(404, "not_available", f"video {video_id!r} is taken down or outside its window", field="video_id")
    return record


def _viewing(viewer: str, video_id: str) -> Viewing:
    try:
        return viewings(service().store.events.history(viewer)).get(video_id, Viewing())
    except Exception:
        current_app.logger.exception("the history of a viewer cannot be read")
        return Viewing()


def _player_labels(record: VideoRecord) -> list[PlayerLabel]:
    """The owner's labels, then what the label head is sure of beside them."""
    given = [PlayerLabel(name, None) for name in record.labels]
    sure = sorted(record.predicted_labels.items(), key=lambda pair: -pair[1])
    return given + [PlayerLabel(n, c) for n, c in sure if c >= SURE_FROM and n not in record.labels]
