"""A viewer as the sources see one: recent likes with weights, dislikes, and what was watched already.

Recency is in the weights: what a viewer watched last says most about what comes next. Built from a history (or
from session events that are not stored); knows nothing of models.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from data.interactions import excludes, signals, strongest_of_each_type, type_codes
from data.schema import EventType
from data.store.events import History


class ProfileSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    half_life_items: float = Field(default=3.0, gt=0, description="a like counts half as much this many likes later")
    recent_items: int = Field(default=50, ge=1, description="likes that count at all")


@dataclass(frozen=True)
class Profile:
    """A viewer's history in columns of one release.

    liked: (h,) int64 columns, newest first, with `signal` (h,) float32 > 0 and `recency` (h,) float32 in (0, 1];
    disliked: (d,) int64 columns, newest first; watched: (w,) int64 columns that are not recommended again.
    """

    liked: np.ndarray
    signal: np.ndarray
    recency: np.ndarray
    disliked: np.ndarray
    watched: np.ndarray

    @property
    def weights(self) -> np.ndarray:
        """(h,) float32: how much each like counts now."""
        return self.signal * self.recency

    @property
    def known(self) -> bool:
        """Whether there is anything to personalise from."""
        return len(self.liked) > 0


def build_profile(history: History, column_of_video: Mapping[str, int], settings: ProfileSettings) -> Profile:
    """Folds a history (newest first) into a profile; videos that the release does not know are passed over."""
    columns = np.fromiter((column_of_video.get(name, -1) for name in history.video_ids), np.int64, len(history))
    # Showing a video says nothing of taste, and nothing of when it was watched.
    here = (columns >= 0) & (history.types != EventType.IMPRESSION.value)
    columns, values = columns[here], history.values[here]
    codes = type_codes(history.types[here])
    says = signals(codes, values)
    out = np.unique(columns[excludes(codes, values)])
    videos, first, group = np.unique(columns, return_index=True, return_inverse=True)
    total = np.bincount(group, strongest_of_each_type(group, codes, says), len(videos))
    return _profile(videos, total, first, out, settings)


def profile_of_likes(columns: np.ndarray, signal: np.ndarray, settings: ProfileSettings) -> Profile:
    """The profile of a viewer who watched these videos (newest first, each once) with these signals."""
    return _profile(columns, signal, np.arange(len(columns)), np.unique(columns), settings)


def _profile(
    videos: np.ndarray, total: np.ndarray, newest: np.ndarray, watched: np.ndarray, settings: ProfileSettings
) -> Profile:
    order = np.argsort(newest, kind="stable")
    liked = order[total[order] > 0][: settings.recent_items]
    recency = np.exp2(-np.arange(len(liked)) / settings.half_life_items).astype(np.float32)
    disliked = order[total[order] < 0]
    return Profile(videos[liked], total[liked].astype(np.float32), recency, videos[disliked], watched)
