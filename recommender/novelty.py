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
        # What came after the release had no viewer yet when it was made.
        self._few = np.ones(len(view.videos), bool)
        self._few[: len(viewers)] = viewers < settings.below_viewers
        self._seconds = settings.days * SECONDS_PER_DAY
        self._latest: _Looked | None = None

    def columns(self, now: float) -> np.ndarray:
        """(n,) int64 columns that are new at a moment (seconds since 1970)."""
        return self._look(now).columns

    def mask(self, now: float) -> np.ndarray:
        """(V,) bool: the same as a mask, not to be changed."""
        return self._look(now).mask

    def _look(self, now: float) -> "_Looked":
        view, latest = self._view, self._latest
        if latest is None or latest.version != view.version or not 0 <= now - latest.now < _LOOKS_AGAIN_AFTER_S:
            version = view.version
            since = np.where(np.isnan(view.published_at), view.created_at, view.published_at)
            new = np.flatnonzero(self._few & view.shown & (since > now - self._seconds) & (since <= now))
            if len(new) > MOST_NEW:
                new = np.sort(new[np.argpartition(-since[new], MOST_NEW - 1)[:MOST_NEW]])
            mask = np.zeros(len(self._few), bool)
            mask[new] = True
            latest = self._latest = _Looked(version, now, new, mask)
        return latest


@dataclass(frozen=True)
class _Looked:
    """What was new at `now`, by a version of the catalogue."""

    version: int
    now: float
    columns: np.ndarray
    mask: np.ndarray
