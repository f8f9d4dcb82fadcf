"""Gates: what a built release must show before it is published. Each compares one number with a bound and names both.

Quality is compared on viewers whom no release has learned from: a share of all, the same ones every time, is held back
from fitting (they are served like all others, from their histories). So the running release and the new one are asked
for lists of people whom neither has seen, at a moment of the past, and what these watched next tells which is better.
Knows nothing of files and of how a release is built.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import pandas as pd
from scipy import stats
from threadpoolctl import threadpool_limits

from data.interactions import Interactions
from recommender.engine import Engine
from recommender.evaluate.metrics import ndcg_at_k
from recommender.gate_settings import GateSettings
from recommender.pipeline.stages import Query
from recommender.ranking.windows import newest_window, requests_within
from recommender.settings import RecommenderSettings

#: Places of a list that are compared.
K = 10

Gate = Literal["checksums", "embeddings", "finite", "recall", "size", "ndcg", "coverage"]
#: Those that a person may publish in spite of; the others say that something is broken.
ACCEPTABLE: tuple[Gate, ...] = ("embeddings", "recall", "size", "ndcg", "coverage")
GATES: tuple[Gate, ...] = get_args(Gate)


@dataclass(frozen=True)
class Failure:
    """A gate that a release did not pass, and which number failed."""

    gate: Gate
    detail: str

    def __str__(self) -> str:
        return f"gate {self.gate}: {self.detail}"


@dataclass(frozen=True)
class Comparison:
    """Lists of n held-back viewers from the new release beside those from the running one.

    low and high: interval of the mean difference of NDCG@10 (paired t, at `gates.confidence`); coverage: share of the
    catalogue that stood in the lists.
    """

    viewers: int
    ndcg: float
    running_ndcg: float
    low: float
    high: float
    coverage: float
    running_coverage: float


def held_back(viewers: np.ndarray, share: float) -> np.ndarray:
    """(U,) bool: this share of viewers (U,) str objects, of a smaller share some of the same ones, by their names."""
    return pd.util.hash_array(viewers, categorize=False) < share * 2.0**64


def size_failures(counts: Mapping[str, int], running: Mapping[str, int], least: float) -> Iterator[Failure]:
    """Counts of a release that fell below a share of the running one's."""
    for name, there in running.items():
        here = counts.get(name, 0)
        if here < least * there:
            yield Failure("size", f"{here:,} {name} where the running release has {there:,}; {least:.0%} are needed")


def quality_failures(found: Comparison, settings: GateSettings) -> Iterator[Failure]:
    """Whether lists are worse than the running release's, by more than chance explains, or all the same."""
    allowed = -settings.ndcg_loss * found.running_ndcg
    if found.high < allowed:
        yield Failure(
            "ndcg",
            f"NDCG@{K} of {found.viewers} held-back viewers is {found.ndcg:.4f}, that of the running release"
            f" {found.running_ndcg:.4f}: lower by {-found.high:.4f} to {-found.low:.4f}, {-allowed:.4f} is allowed",
        )
    if found.coverage < settings.least_coverage * found.running_coverage:
        yield Failure(
            "coverage",
            f"{found.coverage:.2%} of the catalogue is in the lists of {found.viewers} held-back viewers, with the"
            f" running release {found.running_coverage:.2%}; {settings.least_coverage:.0%} of that are needed",
        )


def compare(new: Engine, running: Engine, unseen: Interactions, settings: RecommenderSettings) -> Comparison | None:
    """Asks both for lists of viewers who were known before the newest window and liked something new in it.

    unseen: what held-back viewers did, in the columns of `new`. None where too few of them are left.
    """
    window = newest_window(unseen, settings.gates.window_share)
    if window is None:
        return None
    before, within = unseen.begun_before(window.start), unseen.begun_between(window.start, window.end)
    requests = list(requests_within(before, within, settings, settings.gates.judged))
    if len(requests) < settings.gates.fewest_judged:
        return None
    asked = [(query, within.video[following]) for _, query, following in requests]
    column_there = np.array([running.column_of.get(name, -1) for name in new.videos], np.int64)
    asked_there = [
        (replace(query, profile=query.profile.in_columns(column_there)), column_there[wanted])
        for query, wanted in asked
    ]
    # Requests are small: threads within each would only wait for each other. OpenMP counts its own in every thread.
    with threadpool_limits(1), ThreadPoolExecutor(2, initializer=lambda: threadpool_limits(1)) as side_by_side:
        here = side_by_side.submit(_judged, new, asked)
        there = side_by_side.submit(_judged, running, asked_there)
        (ours, coverage), (theirs, running_coverage) = here.result(), there.result()
    low, high = _paired_interval(ours - theirs, settings.gates.confidence)
    return Comparison(len(requests), float(ours.mean()), float(theirs.mean()), low, high, coverage, running_coverage)


def _judged(engine: Engine, asked: Sequence[tuple[Query, np.ndarray]]) -> tuple[np.ndarray, float]:
    """NDCG (n,) of the list for each request by what was watched then, columns of the engine, and the share of the
    catalogue that stands in the lists."""
    engine = engine.unhurried()
    shown = np.zeros(len(engine.videos), bool)
    hits = np.zeros((len(asked), K), bool)
    for row, (query, wanted) in enumerate(asked):
        columns = engine.recommend(replace(query, limit=K))[0].columns
        hits[row, : len(columns)] = np.isin(columns, wanted)
        shown[columns] = True
    return ndcg_at_k(hits, np.array([len(wanted) for _, wanted in asked])), float(shown.mean())


def _paired_interval(differences: np.ndarray, confidence: float) -> tuple[float, float]:
    mean = float(differences.mean())
    if not differences.any():
        return mean, mean
    found = stats.ttest_1samp(differences, 0.0).confidence_interval(confidence)
    return float(found.low), float(found.high)
