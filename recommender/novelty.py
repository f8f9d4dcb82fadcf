"""Which videos are new: published lately, and liked by few viewers yet. Knows nothing of any one viewer."""

from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from recommender.catalogue_view import CatalogueView
from recommender.popularity import SECONDS_PER_DAY

#: Of more videos than this only the newest count as new: each is compared with every viewer's likes.
MOST_NEW = 2_000
_LOOKS_AGAIN_AFTER_S = 60.0


class NoveltySettings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    days: float = Field(default=30.0, gt=0, description="a video is new for so long after it was published or added")
    below_viewers: int = Field(default=20, ge=1, description="and while fewer viewers than this have liked it")


class NewVideos:
    """The new ones among the columns of a view; viewers: (V,) int32, how many liked each video of the release."""

    def __init__(self, view: CatalogueView, viewers: np.ndarray, settings: NoveltySettings) -> None:
        self._view = view
        #: (V,) int32: how many viewers each video had when the release was made.
        came_later = len(view.videos) - len(viewers)
        self.known_by = np.pad(viewers, (0, came_later)) if came_later else viewers
        self._few = self.known_by < settings.below_viewers
        self._seconds = settings.days * SECONDS_PER_DAY
        self._latest: _Looked | None = None
        self._young: _Young | None = None

    def columns(self, now: float) -> np.ndarray:
        """(n,) int64 columns that are new at a moment (seconds since 1970)."""
        return self._look(now).columns

    def mask(self, now: float) -> np.ndarray:
        """(V,) bool: the same as a mask, not to be changed."""
        return self._look(now).mask

    def _look(self, now: float) -> "_Looked":
        version, latest = self._view.version, self._latest
        if latest is None or latest.version != version or not 0 <= now - latest.now < _LOOKS_AGAIN_AFTER_S:
            latest = self._latest = self._looked(version, now)
        return latest

    def _looked(self, version: int, now: float) -> "_Looked":
        young = self._young
        if young is None or young.version != version or now < young.now:
            young = self._young = self._young_at(version, now)
        here = (young.since > now - self._seconds) & (young.since <= now)
        new, since = young.columns[here], young.since[here]
        if len(new) > MOST_NEW:
            new = np.sort(new[np.argpartition(-since, MOST_NEW - 1)[:MOST_NEW]])
        mask = np.zeros(len(self._few), bool)
        mask[new] = True
        return _Looked(version, now, new, mask)

    def _young_at(self, version: int, now: float) -> "_Young":
        view, edge = self._view, now - self._seconds
        published, created = view.published_at, view.created_at
        columns = np.flatnonzero(((published > edge) | (created > edge)) & self._few & view.shown)
        since = np.where(np.isnan(published[columns]), created[columns], published[columns])
        there = np.flatnonzero(since <= now)
        if len(there) > MOST_NEW:
            # Older ones will not be among the newest again.
            newest = there[np.argpartition(-since[there], MOST_NEW - 1)[:MOST_NEW]]
            kept = np.sort(np.concatenate([newest, np.flatnonzero(since > now)]))
            columns, since = columns[kept], since[kept]
        return _Young(version, now, columns, since)


@dataclass(frozen=True)
class _Young:
    """All that counts as new at `now` or may later, by a version of the catalogue: columns (n,) and since when (n,)."""

    version: int
    now: float
    columns: np.ndarray
    since: np.ndarray


@dataclass(frozen=True)
class _Looked:
    """What was new at `now`, by a version of the catalogue."""

    version: int
    now: float
    columns: np.ndarray
    mask: np.ndarray
