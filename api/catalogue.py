"""The catalogue as its owners write it over HTTP: describing videos, changing single fields, removing them.

Files come by `uploads` alone and takedowns by the catalogue's own `set_hidden`: no field of a description is a path
of this machine, or undoes what an editor has decided. Knows nothing of Flask.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from api.errors import Problem
from api.uploads import MediaUploads
from data.schema import VideoDescription, VideoRecord, first_error
from data.store import Catalogue

#: What follows a video's id in addresses.
PARTS = frozenset({"hide", "media", "next", "similar", "unhide"})
_SET_ELSEWHERE = {
    "media_path": "is no field over HTTP; PUT /v1/videos/{id}/media takes the file itself",
    "content_hash": "is worked out from the file; PUT /v1/videos/{id}/media takes it",
    "hidden": "is no field here; POST /v1/videos/{id}/hide and /unhide set it",
}
_FIELDS = VideoDescription.model_fields


class CatalogueDesk:
    def __init__(self, catalogue: Catalogue, uploads: MediaUploads) -> None:
        self._catalogue = catalogue
        self._uploads = uploads

    def describe(self, rows: Sequence[Any]) -> dict[str, Any]:
        """Adds videos, or replaces what was said of them; each row has its own result, good ones count though others
        are bad."""
        results: list[dict[str, Any]] = [{} for _ in rows]
        entries: list[VideoDescription] = []
        places: list[int] = []
        for place, row in enumerate(rows):
            try:
                entries.append(_described(row))
                places.append(place)
            except ValueError as error:
                given = row.get("id") if isinstance(row, dict) else None
                shown = given if isinstance(given, str) else None
                results[place] = {"id": shown, "status": "rejected", "code": "invalid_video", "detail": str(error)}
        for place, entry, outcome in zip(places, entries, self._catalogue.describe(entries), strict=True):
            results[place] = {"id": entry.id, "status": outcome}
        statuses = [result["status"] for result in results]
        counts = {name: statuses.count(name) for name in ("created", "updated", "unchanged", "rejected")}
        return {**counts, "results": results}

    def change(self, video_id: str, given: Mapping[str, Any], only_if: Sequence[int] | None = None) -> VideoRecord:
        """Changes the given fields; None clears one.

        only_if: versions that the video may be of; of another it stays as it is. Raises Problem 404, 412 and 422.
        """
        given = {name: _cleared(name) if value is None else value for name, value in given.items()}
        while True:
            record = self.get(video_id)
            if only_if is not None and record.version not in only_if:
                detail = f"video {video_id!r} has changed meanwhile; get it again"
                raise Problem(412, "precondition_failed", detail, field="If-Match")
            known = record.model_dump(include=set(_FIELDS))
            try:
                changed = VideoDescription.model_validate(known | given).model_dump()
            except ValidationError as error:
                field, message = first_error(error)
                raise Problem(422, "invalid_request", f"{field}: {message}", field=field) from error
            fields = {name: value for name, value in changed.items() if value != known[name]}
            # Whoever wrote to it meanwhile has changed what this was worked out from.
            if not fields or self._catalogue.change(video_id, fields, record.version):
                return self.get(video_id)

    def remove(self, video_id: str) -> bool:
        """Removes a video, and its file where that was uploaded; False when there is none."""
        record = self._catalogue.get(video_id)
        if record is None:
            return False
        removed = self._catalogue.remove([video_id]) == 1
        self._uploads.discard(record.media_path)
        return removed

    def get(self, video_id: str) -> VideoRecord:
        """Raises Problem 404 for an unknown video."""
        record = self._catalogue.get(video_id)
        if record is None:
            raise unknown_video(video_id)
        return record


def unknown_video(video_id: str) -> Problem:
    return Problem(404, "unknown_video", f"no video {video_id!r} in the catalogue", field="video_id")


def _described(row: Any) -> VideoDescription:
    """Raises ValueError that says what is wrong and what would be right."""
    if not isinstance(row, dict):
        raise ValueError('a video is an object: {"id": "...", "title": "..."}')
    for name in row:
        if name in _SET_ELSEWHERE:
            raise ValueError(f"{name}: {_SET_ELSEWHERE[name]}")
        if name not in _FIELDS:
            raise ValueError(f"{name}: is not known here; known are {', '.join(_FIELDS)}")
    try:
        entry = VideoDescription.model_validate(row)
    except ValidationError as error:
        field, message = first_error(error)
        raise ValueError(f"{field}: {message}") from error
    parts = entry.id.split("/")
    if not {"", ".", ".."}.isdisjoint(parts) or (len(parts) > 1 and parts[-1] in PARTS):
        raise ValueError(f"id: {entry.id!r} cannot stand in an address; take a name without slashes")
    return entry


def _cleared(name: str) -> Any:
    return _FIELDS[name].get_default(call_default_factory=True)
