"""Videos that nobody has watched yet, on real data: MovieLens-1M with trailer features (MMTF-14K).

A fifth of the movies is taken out of all histories. Viewers are folded in from the others and rank the removed ones
by what `recommender.content_map` says of them, with its defaults. Which movies are drawn matters as much as the model,
so this is done for several draws.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from data.progress import progress
from recommender.collaborative import LatentFactors, fit_factors
from recommender.content_map import ContentBlock, ContentMap, fit_content_map
from recommender.evaluate.metrics import bootstrap_interval, ndcg_at_k, recall_at_k

K = 10
DRAWS = 5
COLD = 329
RATINGS = "ml-1m/ml1m_sasrec_order_interpolated_ts.csv.gz"
TRAILERS = "mmtf14k-subset"
PICTURE_AND_SOUND = ("picture", "sound")
ALL_BLOCKS = ("picture", "sound", "tags", "genres", "year")


def measure(folder: Path, draws: int = DRAWS) -> dict[str, Any]:
    """`folder` holds ml-1m and mmtf14k-subset. NDCG@10 and Recall@10 among the removed movies, means over the draws."""
    positives, blocks = _read(folder)
    found = []
    with progress("draws", draws, "draws") as advance:
        for seed in range(1, draws + 1):
            found.append(_draw(positives, blocks, seed))
            advance()
    return {
        "task": "cold",
        "movies": positives.shape[1],
        "removed": COLD,
        "draws": draws,
        "models": {name: _over_draws([draw[name] for draw in found]) for name in found[0]},
    }


def _over_draws(figures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    means = {name: float(np.mean([each[name] for each in figures])) for name in ("ndcg@10", "recall@10")}
    return {**means, "by_draw": list(figures)}


def _draw(positives: sp.csr_matrix, blocks: Mapping[str, np.ndarray], seed: int) -> dict[str, Any]:
    """What each model makes of the movies that this seed removes."""
    rng = np.random.default_rng(seed)
    fold = _Fold.without(positives, np.sort(rng.choice(positives.shape[1], COLD, replace=False)))
    models: dict[str, Any] = {
        "random": fold.figures(rng.random(fold.wanted.shape)),
        "content kNN, picture and sound": fold.figures(fold.nearest(blocks, PICTURE_AND_SOUND)),
        "popularity among the removed (an oracle)": fold.figures(
            np.tile(fold.wanted.sum(axis=0), (len(fold.viewers), 1))
        ),
    }
    for name, chosen in (("picture and sound", PICTURE_AND_SOUND), ("all blocks", ALL_BLOCKS)):
        scores, fitted = fold.mapped(blocks, chosen)
        facts = {"trust": fitted.trust, "correlation": fitted.correlation}
        models[f"content map, {name}"] = fold.figures(scores) | facts
    return models


@dataclass(frozen=True)
class _Fold:
    """Some movies removed: `positives` (U, V) without them, the factors of the rest, `wanted` (n, removed) bool."""

    positives: sp.csr_matrix
    removed: np.ndarray
    viewers: np.ndarray
    wanted: np.ndarray
    factors: LatentFactors
    folded_in: np.ndarray

    @classmethod
    def without(cls, positives: sp.csr_matrix, removed: np.ndarray) -> "_Fold":
        """Takes `removed`, in order, out to be ranked."""
        keep = np.ones(positives.shape[1], np.float32)
        keep[removed] = 0
        rest = sp.csr_matrix(positives @ sp.diags_array(keep))
        rest.eliminate_zeros()
        wanted = positives[:, removed].toarray() > 0
        viewers = np.flatnonzero(wanted.any(axis=1) & (np.diff(rest.indptr) > 0))
        factors = fit_factors(rest)
        histories = np.split(rest.indices, rest.indptr[1:-1])
        folded_in = np.stack(
            [factors.fold_in(histories[row], np.ones(len(histories[row]), np.float32)) for row in viewers]
        )
        return cls(rest, removed, viewers, wanted[viewers], factors, folded_in)

    def figures(self, scores: np.ndarray) -> dict[str, Any]:
        hits, relevant = self._hits(scores)
        ndcg = ndcg_at_k(hits, relevant)
        return {
            "ndcg@10": float(ndcg.mean()),
            "ndcg@10_95": list(bootstrap_interval(ndcg)),
            "recall@10": float(recall_at_k(hits, relevant).mean()),
        }

    def mapped(self, blocks: Mapping[str, np.ndarray], names: Sequence[str]) -> tuple[np.ndarray, ContentMap]:
        content = {name: ContentBlock(blocks[name], blocks[name].any(axis=1)) for name in names}
        support = np.bincount(self.positives.indices, minlength=self.positives.shape[1])
        fitted = fit_content_map(content, self.factors.items, support)
        return self.folded_in @ fitted.factors(content)[self.removed].T, fitted

    def nearest(self, blocks: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
        """Mean cosine to all that a viewer watched."""
        standard = np.hstack(
            [(blocks[name] - blocks[name].mean(axis=0)) / np.maximum(blocks[name].std(axis=0), 1e-6) for name in names]
        )
        unit = standard / np.linalg.norm(standard, axis=1, keepdims=True)
        return (self.positives[self.viewers] @ unit) @ unit[self.removed].T

    def _hits(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        top = np.argsort(-scores, axis=1, kind="stable")[:, :K]
        return np.take_along_axis(self.wanted, top, axis=1), self.wanted.sum(axis=1)


def _read(folder: Path) -> tuple[sp.csr_matrix, dict[str, np.ndarray]]:
    """(U, V) ratings of the movies that have a trailer, and the blocks of these movies."""
    tables = [pd.read_csv(folder / TRAILERS / f"{part}_features.tsv", sep="\t") for part in ("train", "valid", "test")]
    genres = pd.read_csv(
        folder / "ml-1m/movies.dat", sep="::", engine="python", encoding="latin-1", names=["movieId", "name", "genres"]
    )
    ratings = pd.read_csv(folder / RATINGS, usecols=["userId", "movieId"])
    movies = pd.concat(tables).drop_duplicates("movieId").merge(genres, on="movieId")
    movies = movies[movies["movieId"].isin(ratings["movieId"])].sort_values("movieId")
    ratings = ratings[ratings["movieId"].isin(movies["movieId"])]
    column = np.searchsorted(movies["movieId"].to_numpy(), ratings["movieId"].to_numpy())
    _, viewer = np.unique(ratings["userId"], return_inverse=True)
    shape = (int(viewer.max()) + 1, len(movies))
    positives = sp.csr_matrix((np.ones(len(ratings), np.float32), (viewer, column)), shape)
    year = pd.to_numeric(movies["year"], errors="coerce").fillna(1990).to_numpy(np.float32)
    return positives, {
        "picture": movies.filter(regex="^avf").to_numpy(np.float32),
        "sound": movies.filter(regex="^ivec").to_numpy(np.float32),
        "tags": _one_hot(movies["tag"].fillna(""), ",", 3),
        "genres": _one_hot(movies["genres"], "|", 1),
        # Years that are near are alike: soft membership of periods eight years apart.
        "year": np.exp(-np.square((year[:, None] - np.arange(1920, 2001, 8, dtype=np.float32)) / 8) / 2),
    }


def _one_hot(words: pd.Series, separator: str, at_least: int) -> np.ndarray:
    table = words.str.get_dummies(separator).to_numpy(np.float32)
    return table[:, table.sum(axis=0) >= at_least]
