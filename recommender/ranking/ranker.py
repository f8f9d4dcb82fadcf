"""A ranker of candidates: trees that correct the fusion of the sources. The only file that knows LightGBM.

LambdaMART (Burges: From RankNet to LambdaRank to LambdaMART, 2010) over the features of `recommender.ranking.features`.
It begins with the fused score of every candidate and learns what to add to it: where little is to be learned, the
order stays that of the fusion. Knows nothing of sources, viewers and videos.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, Field

from recommender.evaluate.metrics import bootstrap_interval, ndcg_at_k
from recommender.ranking.trees import TreeArrays

# LightGBM takes a second to import, and every command reads these settings: it is imported where it is needed.
if TYPE_CHECKING:
    import lightgbm

#: The feature that a ranker begins with, in standard deviations within a request.
FUSION = "score.fusion"
#: Features of which more never lowers a score, and those of which more never raises it.
RISING = ("score.", "label_affinity", "recent_label_affinity", "similarity", "recent_similarity")
FALLING = ("rank.",)
BEST = 10
HIGHEST_GRADE = 3
#: Up to so many rows arrays are quicker than the library.
FEW = 1_000


class RankerSettings(BaseModel):
    """Defaults that did best on rolling windows of MovieLens-1M."""

    model_config = ConfigDict(extra="forbid")

    enabled: bool = Field(default=True, description="whether candidates are ranked by trees at all")
    windows: int = Field(default=7, ge=2, le=50, description="windows of the past that are learned from")
    window_share: float = Field(default=0.05, gt=0, le=0.25, description="share of all interactions in each window")
    viewers_per_window: int = Field(default=1_000, ge=10, description="viewers asked for in a window; of more, some")
    viewers_fitted: int = Field(
        default=10_000, ge=10, description="viewers whom the models of past windows are fitted to; of more, some"
    )
    keep_hours: float = Field(
        default=24.0, ge=0, description="a ranker so young is taken over by the next refresh; 0: always trained anew"
    )
    min_groups: int = Field(default=300, ge=2, description="no trees are trained from fewer past requests")
    fusion_weight: float = Field(default=0.5, ge=0, description="standard deviations of the fused score to begin with")
    trees: int = Field(default=40, ge=1, le=500, description="at most; scoring takes time in proportion")
    leaves: int = Field(default=15, ge=2, le=255, description="leaves per tree")
    learning_rate: float = Field(default=0.12, gt=0, le=1, description="how much of each tree counts")
    patience: int = Field(default=15, ge=1, description="trees without gain on the held back requests until the end")
    exposures: int = Field(
        default=20_000, ge=0, description="newest shown lists that are learned from too, where that is better; 0: none"
    )
    exposure_hours: float = Field(
        default=24.0, gt=0, description="what is liked so long after a list showed it counts as its doing"
    )
    min_candidates_per_leaf: int = Field(default=100, ge=1, description="of fewer candidates nothing is concluded")
    l2: float = Field(default=10.0, ge=0, description="shrinks what a leaf with few candidates says")


@dataclass(frozen=True)
class PastRequests:
    """G requests whose outcome is known, oldest first, and their n candidates one request after another.

    features: (n, F) float32; grades: (n,) int, 0 was not watched, higher is better; sizes: (G,) candidates of each;
    relevant: (G,) > 0, how many videos the viewer went on to watch, candidates or not; window: (G,) int, which period
    a request is from, higher is newer; viewer: (G,) int.
    """

    features: np.ndarray
    grades: np.ndarray
    sizes: np.ndarray
    relevant: np.ndarray
    window: np.ndarray
    viewer: np.ndarray

    def __len__(self) -> int:
        return len(self.sizes)

    @classmethod
    def together(cls, parts: Sequence["PastRequests"]) -> "PastRequests":
        """All requests of several, at least one."""
        names = [each.name for each in fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def take(self, wanted: np.ndarray) -> "PastRequests":
        """The requests where `wanted` (G,) bool."""
        rows = np.repeat(wanted, self.sizes)
        return PastRequests(
            self.features[rows],
            self.grades[rows],
            self.sizes[wanted],
            self.relevant[wanted],
            self.window[wanted],
            self.viewer[wanted],
        )


@dataclass(frozen=True)
class Comparison:
    """NDCG@10 of the trees and of the fusion they began with, on `requests` that neither was trained on.

    low and high: 95 % interval of the mean difference, resampling viewers; exposures: lists that were really shown
    among what the trees learned from.
    """

    requests: int
    trees: float
    fusion: float
    low: float
    high: float
    exposures: int = 0

    @property
    def trees_are_better(self) -> bool:
        return self.trees > self.fusion


def grades_of(signals: np.ndarray) -> np.ndarray:
    """(n,) int8 of positive signals: 1 for a look into a video, 2 for watching it, 3 for liking it as well."""
    return np.clip(np.ceil(2 * signals), 1, HIGHEST_GRADE).astype(np.int8)


class Ranker:
    """Scores candidates from features in the order of `names`."""

    def __init__(self, booster: "lightgbm.Booster", names: Sequence[str], fusion_weight: float) -> None:
        self.names = tuple(names)
        self._booster = booster
        self._fusion = self.names.index(FUSION)
        self._fusion_weight = fusion_weight
        self._trees: TreeArrays | None = None
        with contextlib.suppress(ValueError):
            trees = [tree["tree_structure"] for tree in booster.dump_model()["tree_info"]]
            self._trees = TreeArrays(trees, len(self.names))

    def scores(self, features: np.ndarray) -> np.ndarray:
        """(n, F) candidates of one request -> (n,) float32, higher is better; comparable within the request only."""
        if not len(features):
            return np.zeros(0, np.float32)
        start = self._fusion_weight * features[:, self._fusion]
        if self._trees is not None and len(features) <= FEW:
            trees = self._trees.scores(np.asarray(features.T, np.float32))
        else:
            trees = np.asarray(self._booster.predict(features, raw_score=True, num_threads=1))
        return (start + trees).astype(np.float32)

    def gains(self) -> dict[str, float]:
        """How much each feature lowered the loss, as a share of all: sums to 1 where there are trees."""
        gain = self._booster.feature_importance("gain")
        return dict(zip(self.names, (gain / max(gain.sum(), 1e-12)).tolist(), strict=True))

    def to_text(self) -> str:
        """The ranker as text, for `from_text`."""
        facts = {"names": self.names, "fusion_weight": self._fusion_weight, "trees": self._booster.model_to_string()}
        return orjson.dumps(facts).decode()

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Raises ValueError when the text is not that of a ranker."""
        import lightgbm

        try:
            facts = orjson.loads(text)
            return cls(lightgbm.Booster(model_str=facts["trees"]), facts["names"], float(facts["fusion_weight"]))
        except (KeyError, TypeError, ValueError, lightgbm.basic.LightGBMError) as error:
            raise ValueError(f"this is not a ranker: {error}") from error


def train_ranker(
    past: PastRequests,
    names: Sequence[str],
    settings: RankerSettings | None = None,
    seed: int = 0,
    shown: PastRequests | None = None,
) -> tuple[Ranker, Comparison] | None:
    """Trains on past requests, and on lists that were `shown` where that does better.

    The newest window is held back to choose and to compare: of its viewers one half says when to stop and whether shown
    lists help, the other is compared on. The ranker that comes back was then trained on all windows. None where there
    is too little to learn from: fewer requests than `min_groups`, one window only, or no request with a watched
    candidate on one of the sides.
    """
    settings = settings or RankerSettings()
    newest = past.window == past.window.max(initial=0)
    # Halves of viewers, not of requests: what a viewer watches next is much like what the same one watched before.
    judging = newest & (np.random.default_rng(seed).permutation(past.viewer.max(initial=0) + 1)[past.viewer] % 2 == 0)
    parts = [past.take(wanted) for wanted in (~newest, newest & ~judging, judging)]
    if len(past) < settings.min_groups or not all(part.grades.any() for part in parts):
        return None
    older, stopping, judged = parts
    first = _fit(older, names, settings, seed, stopping)
    exposures = 0
    if shown is not None and len(shown) >= settings.min_groups:
        # What was shown in the newest window is as far from having happened as the window itself.
        earlier = shown.take(shown.window < past.window.max())
        other = _fit(PastRequests.together([older, earlier]), names, settings, seed, stopping)
        if _mean_ndcg(other, names, settings, stopping) > _mean_ndcg(first, names, settings, stopping):
            first, past, exposures = other, PastRequests.together([past, shown]), len(shown)
    comparison = replace(_compare(Ranker(first, names, settings.fusion_weight), judged), exposures=exposures)
    fitted = _fit(past, names, settings.model_copy(update={"trees": max(first.current_iteration(), 1)}), seed)
    return Ranker(fitted, names, settings.fusion_weight), comparison


def _fit(
    past: PastRequests,
    names: Sequence[str],
    settings: RankerSettings,
    seed: int,
    stopping: PastRequests | None = None,
) -> "lightgbm.Booster":
    import lightgbm

    parameters: dict[str, Any] = {
        "objective": "lambdarank",
        "metric": "ndcg",
        "eval_at": [BEST],
        "lambdarank_truncation_level": 2 * BEST,
        # Normalised, requests of which much was watched would say too little.
        "lambdarank_norm": False,
        "learning_rate": settings.learning_rate,
        "num_leaves": settings.leaves,
        "min_data_in_leaf": settings.min_candidates_per_leaf,
        "lambda_l2": settings.l2,
        "feature_fraction": 0.5,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "max_bin": 63,
        "monotone_constraints": [_direction(name) for name in names],
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "seed": seed,
        "verbose": -1,
    }
    training = _dataset(past, names, settings)
    if stopping is None:
        return lightgbm.train(parameters, training, settings.trees)
    held_back = _dataset(stopping, names, settings, training)
    until_no_gain = lightgbm.early_stopping(settings.patience, verbose=False)
    fitted = lightgbm.train(parameters, training, settings.trees, valid_sets=[held_back], callbacks=[until_no_gain])
    return lightgbm.Booster(model_str=fitted.model_to_string(num_iteration=fitted.best_iteration))


def _dataset(
    past: PastRequests, names: Sequence[str], settings: RankerSettings, bins_of: "lightgbm.Dataset | None" = None
) -> "lightgbm.Dataset":
    import lightgbm

    # Requests whose candidates are all alike teach nothing, and their NDCG would count as 1.
    learned = past.take(np.add.reduceat(past.grades > 0, _starts(past.sizes)) > 0)
    return lightgbm.Dataset(
        learned.features,
        learned.grades,
        group=learned.sizes,
        init_score=settings.fusion_weight * learned.features[:, list(names).index(FUSION)],
        reference=bins_of,
    )


def _direction(name: str) -> int:
    return 1 if name.startswith(RISING) else -1 if name.startswith(FALLING) else 0


def _starts(sizes: np.ndarray) -> np.ndarray:
    return np.cumsum(sizes) - sizes


def _compare(ranker: Ranker, past: PastRequests) -> Comparison:
    trees = _ndcg(past, ranker.scores(past.features))
    fusion = _ndcg(past, past.features[:, ranker.names.index(FUSION)])
    of_viewer = np.unique(past.viewer, return_inverse=True)[1]
    difference = np.bincount(of_viewer, trees - fusion) / np.bincount(of_viewer)
    low, high = bootstrap_interval(difference)
    return Comparison(len(past), float(trees.mean()), float(fusion.mean()), low, high)


def _mean_ndcg(
    booster: "lightgbm.Booster", names: Sequence[str], settings: RankerSettings, past: PastRequests
) -> float:
    return float(_ndcg(past, Ranker(booster, names, settings.fusion_weight).scores(past.features)).mean())


def _ndcg(past: PastRequests, scores: np.ndarray) -> np.ndarray:
    """NDCG@10 of every request when its candidates stand in the order of `scores` (n,): (G,)."""
    request = np.repeat(np.arange(len(past)), past.sizes)
    order = np.lexsort((-scores, request))
    place = np.arange(len(order)) - _starts(past.sizes)[request]
    shown = place < BEST
    hits = np.zeros((len(past), BEST), bool)
    hits[request[shown], place[shown]] = past.grades[order[shown]] > 0
    return ndcg_at_k(hits, past.relevant)
