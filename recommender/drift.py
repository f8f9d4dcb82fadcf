"""Drift: whether numbers are still distributed as they were, and whether new embeddings are like the release's.

Measured by the Population Stability Index (Siddiqi: Credit Risk Scorecards, 2006), whose convention is: below 0.1
little has changed, above 0.25 much has. Small samples exceed that by chance; how far, after Yurdakul and Naranjo:
Statistical properties of the population stability index (Journal of Risk Model Validation, 2020). Knows nothing of
thresholds that are set, and of who is warned.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import chdtri

from recommender.live_index import LiveIndex

BINS = 10
#: Nothing is said of fewer values than this.
FEWEST = 50
#: Rows of a release, and of what was encoded since, that are compared at most.
MOST_ROWS = 1_000
#: One comparison in so many is beyond `Drift.by_chance` although nothing has changed.
_CHANCE = 0.001


@dataclass(frozen=True)
class Drift:
    """How far a sample is from its reference; `by_chance` is what samples of their sizes rarely exceed."""

    psi: float
    by_chance: float

    def exceeds(self, limit: float) -> bool:
        return self.psi > max(limit, self.by_chance)


def population_stability_index(
    reference: np.ndarray, recent: np.ndarray, independent: tuple[int, int] | None = None
) -> float:
    """The sum over bins of (p - q) ln(p / q): p and q are the shares that values (n,) and (m,) have in each, the bins
    lie between the deciles of the reference. 0 for the same shares, never below.

    independent: how many of either are independent of each other, where that is not all. Every bin has half of such a
    value more than it has, so that an empty one is no infinity.
    """
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, BINS + 1)[1:-1]))
    n, m = independent or (len(reference), len(recent))
    before, now = _shares(edges, reference, n), _shares(edges, recent, m)
    return float(np.sum((now - before) * np.log(now / before)))


def drift_between(
    reference: np.ndarray, recent: np.ndarray, independent: tuple[int, int] | None = None
) -> Drift | None:
    """How far recent values (m,) are from a reference (n,), None of too few."""
    n, m = independent or (len(reference), len(recent))
    if min(n, m) < FEWEST:
        return None
    by_chance = (1 / n + 1 / m) * float(chdtri(BINS - 1, _CHANCE))
    return Drift(population_stability_index(reference, recent, (n, m)), by_chance)


def embedding_drift(index: LiveIndex) -> dict[str, Drift]:
    """How far the vectors that came after a release are from the release's own, by two measures; empty where either are
    too few.

    `mean`: by the cosine to the mean vector of the release, which tells another subject or another brightness.
    `nearest`: by the cosine to the nearest vector of a sample of the release, which tells an encoder that has changed
    though its id has not: its vectors are near to none. A row of the sample itself is compared with all but itself.
    """
    new = index.delta_vectors[-MOST_ROWS:]
    # What was encoded anew would be compared with itself.
    old = index.base.ids[~np.isin(index.base.ids, index.delta_columns)]
    if min(len(new), len(old)) < FEWEST:
        return {}
    sample = np.sort(np.random.default_rng(0).choice(old, min(len(old), MOST_ROWS), replace=False))
    _, vectors = index.base.vectors(sample)
    total = vectors.sum(axis=0)
    among = vectors @ vectors.T
    np.fill_diagonal(among, -np.inf)
    measures = {
        "mean": (_cosines(vectors, total - vectors), _cosines(new, total)),
        "nearest": (among.max(axis=1), (new @ vectors.T).max(axis=1)),
    }
    found = {name: drift_between(*values) for name, values in measures.items()}
    return {name: drift for name, drift in found.items() if drift is not None}


def _shares(edges: np.ndarray, values: np.ndarray, independent: int) -> np.ndarray:
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    smoothed = counts * (independent / len(values)) + 0.5
    return smoothed / smoothed.sum()


def _cosines(vectors: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Of each of (n, D) with the same row of (n, D), or with the one (D,)."""
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(others, axis=-1)
    return (vectors * others).sum(axis=1) / np.maximum(lengths, 1e-12)
