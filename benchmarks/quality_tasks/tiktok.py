"""Very short histories on real data: TikTok micro-videos in the split of DiffMM (Jiang et al. 2024).

Each viewer has one to four videos to go by, and exactly one held out, for half as many viewers in the validation
part as in the test part. The whole catalogue is ranked, watched videos are masked, nothing is fitted to more than
the training part. Weights of the blend are found on the validation part alone; the test part is looked at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from recommender.collaborative import CollaborativeSettings, fit_factors
from recommender.content_map import ContentBlock, fit_content_map
from recommender.evaluate.metrics import bootstrap_interval, ndcg_at_k, recall_at_k
from recommender.item_item import ItemItemSettings, fit_item_weights
from recommender.neighbours import NeighbourSettings, fit_neighbours
from recommender.walks import WalkSettings, fit_walks

K = 20
#: Viewers that are scored at a time.
BLOCK = 1_000
#: Weights that are tried for each source of the blend, in two rounds over all of them.
WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0, 1.5)
ROUNDS = 2
#: Scores of all videos for rows of histories: (n, V) sparse -> (n, V) float32.
Source = Callable[[sp.csr_matrix], np.ndarray]


@dataclass(frozen=True)
class _Split:
    train: sp.csr_matrix
    valid: sp.csr_matrix
    test: sp.csr_matrix
    picture: np.ndarray
    sound: np.ndarray


def measure(folder: Path) -> dict[str, Any]:
    """`folder` holds train.npz, valid.npz, test.npz, image_feat.npy and audio_feat.npy. Recall@20 and NDCG@20.

    `served` is the blend: there are no times here, so there is nothing for the whole pipeline to serve by.
    """
    split = _Split(
        *(sp.csr_matrix(sp.load_npz(folder / f"{part}.npz").astype(bool).astype(np.float32)) for part in PARTS),
        np.load(folder / "image_feat.npy").astype(np.float32),
        np.load(folder / "audio_feat.npy").astype(np.float32),
    )
    sources = _sources(split)
    weights, of_valid = _blend(split, sources)
    ranks, of_test = _test_ranks(split, sources, weights)
    best = max(sources, key=lambda name: of_valid[name]["ndcg@20"])
    difference = _ndcg(ranks["blend"]) - _ndcg(ranks[best])
    return {
        "task": "tiktok",
        "viewers": len(ranks["blend"]),
        "served": of_test["blend"],
        "models": {name: figures for name, figures in of_test.items() if name != "blend"},
        "valid": of_valid,
        "weights": weights,
        "weights_tried": list(WEIGHTS),
        "best_single": best,
        "not_comparable": {"popularity in the validation part": _figures(_trend_ranks(split))},
        "blend_minus_best_single": {"ndcg@20": float(difference.mean()), "95": list(bootstrap_interval(difference))},
    }


PARTS = ("train", "valid", "test")


def _sources(split: _Split) -> dict[str, Source]:
    """Every model fitted to the training part. Settings: the best on the validation part of a few values each."""
    train = split.train
    audience = np.bincount(train.indices, minlength=train.shape[1]).astype(np.float32)
    factors = fit_factors(train, CollaborativeSettings(factors=64, regularization=1, alpha=10))
    neighbours = fit_neighbours(train, NeighbourSettings(neighbours=500, idf=0.5, amplification=2))
    blocks = {
        "picture": ContentBlock(split.picture, np.ones(len(split.picture), bool)),
        "sound": ContentBlock(split.sound, np.ones(len(split.sound), bool)),
    }
    mapped = fit_content_map(blocks, factors.items, audience).factors(blocks)
    # Where viewers are known the factors are; the map speaks for videos that have few.
    trusted = (audience / (audience + 5))[:, None]
    factors_or_mapped = trusted * factors.items + (1 - trusted) * mapped

    def folded_in(items: np.ndarray) -> Source:
        return lambda rows: np.stack([factors.fold_in(*history) for history in _histories(rows)]) @ items.T

    return {
        "popularity": lambda rows: np.tile(audience, (rows.shape[0], 1)),
        "walks (RP3beta)": _linear(
            fit_walks(train, WalkSettings(alpha=0.7, viewer_alpha=0.7, far=0, neighbours=1_000)).weights
        ),
        "walks, two rounds": _linear(
            fit_walks(train, WalkSettings(alpha=0.7, viewer_alpha=1.3, far=10, neighbours=400)).weights
        ),
        "viewer neighbours": lambda rows: np.stack([neighbours.scores(*history) for history in _histories(rows)]),
        "EASE": _linear(fit_item_weights(train, ItemItemSettings(regularization=30, neighbours=2_000)).weights),
        "ALS": folded_in(factors.items),
        "ALS with content map": folded_in(factors_or_mapped),
        "picture kNN": _linear(_alike(split.picture, 10)),
        "sound kNN": _linear(_alike((split.sound - split.sound.mean(axis=0)) / split.sound.std(axis=0), 10)),
    }


def _linear(weights: sp.csr_matrix) -> Source:
    return lambda rows: (rows @ weights).toarray()


def _alike(values: np.ndarray, keep: int) -> sp.csr_matrix:
    """(V, V) cosines of each video's nearest others, which sum to 1."""
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -1)
    columns = np.argpartition(-cosines, keep, axis=1)[:, :keep]
    nearest = np.maximum(np.take_along_axis(cosines, columns, axis=1), 0)
    nearest /= np.maximum(nearest.sum(axis=1, keepdims=True), 1e-9)
    return sp.csr_matrix((nearest.ravel(), columns.ravel(), np.arange(0, columns.size + 1, keep)), cosines.shape)


def _histories(rows: sp.csr_matrix) -> list[tuple[np.ndarray, np.ndarray]]:
    columns = np.split(rows.indices.astype(np.int64), rows.indptr[1:-1])
    return [(history, np.ones(len(history), np.float32)) for history in columns]


def _standardised(scores: np.ndarray, watched: sp.csr_matrix) -> np.ndarray:
    """z-scores over what a viewer has not watched; watched videos get -inf."""
    scores = scores.astype(np.float32)
    scores[watched.nonzero()] = np.nan
    spread = np.nanstd(scores, axis=1, keepdims=True)
    scores = (scores - np.nanmean(scores, axis=1, keepdims=True)) / np.maximum(spread, 1e-9)
    return np.nan_to_num(scores, nan=-np.inf)


def _ranks(scores: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The rank from 0 of each viewer's held-out video; of equal scores it is the last."""
    own = np.take_along_axis(scores, wanted[:, None], axis=1)
    return np.count_nonzero(scores >= own, axis=1) - 1


def _ndcg(ranks: np.ndarray) -> np.ndarray:
    return ndcg_at_k(_hits(ranks), np.ones(len(ranks), np.int64))


def _hits(ranks: np.ndarray) -> np.ndarray:
    return ranks[:, None] == np.arange(K)


def _figures(ranks: np.ndarray) -> dict[str, Any]:
    ndcg = _ndcg(ranks)
    recall = recall_at_k(_hits(ranks), np.ones(len(ranks), np.int64))
    return {"recall@20": float(recall.mean()), "ndcg@20": float(ndcg.mean()), "ndcg@20_95": bootstrap_interval(ndcg)}


def _goal(ranks: np.ndarray) -> float:
    """What the weights are chosen by: both measures, on about the same scale."""
    return float(_ndcg(ranks).mean() + 0.2 * _hits(ranks).any(axis=1).mean())


def _blend(split: _Split, sources: dict[str, Source]) -> tuple[dict[str, float], dict[str, Any]]:
    """Weights of z-scores by coordinate search on the validation part, from the best single source on."""
    viewers = np.flatnonzero(np.diff(split.valid.indptr))
    wanted, watched = split.valid[viewers].indices, split.train[viewers]
    scores = {name: _standardised(source(watched), watched) for name, source in sources.items()}
    ranks = {name: _ranks(values, wanted) for name, values in scores.items()}
    figures = {name: _figures(of_source) for name, of_source in ranks.items()}
    first = max(ranks, key=lambda name: _goal(ranks[name]))
    weights = {name: float(name == first) for name in sources}
    blend, best = scores[first].copy(), _goal(ranks[first])
    for _ in range(ROUNDS):
        for name, values in scores.items():
            without = np.where(np.isinf(values), -np.inf, blend - weights[name] * np.nan_to_num(values, neginf=0))
            for weight in WEIGHTS:
                tried = without + weight * np.nan_to_num(values, neginf=0)
                goal = _goal(_ranks(tried, wanted))
                if goal > best:
                    best, blend, weights[name] = goal, tried, weight
    figures["blend"] = _figures(_ranks(blend, wanted))
    return weights, figures


def _trend_ranks(split: _Split) -> np.ndarray:
    """Ranks in the test part by what the validation part's viewers went on to.

    Not a model of the table: it shows that both parts come after the training part and share its trends, so that
    whatever learns from single videos of the validation part looks far better than it is.
    """
    viewers = np.flatnonzero(np.diff(split.test.indptr))
    count = split.train.shape[1]
    audience = np.bincount(split.valid.indices, minlength=count) + 1e-6 * np.bincount(
        split.train.indices, minlength=count
    )
    ranks = []
    for start in range(0, len(viewers), BLOCK):
        here = viewers[start : start + BLOCK]
        scores = _standardised(np.tile(audience, (len(here), 1)), split.train[here])
        ranks.append(_ranks(scores, split.test[here].indices))
    return np.concatenate(ranks)


def _test_ranks(
    split: _Split, sources: dict[str, Source], weights: dict[str, float]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    viewers = np.flatnonzero(np.diff(split.test.indptr))
    parts: dict[str, list[np.ndarray]] = {name: [] for name in [*sources, "blend"]}
    for start in range(0, len(viewers), BLOCK):
        here = viewers[start : start + BLOCK]
        wanted, watched = split.test[here].indices, split.train[here]
        blend = np.zeros((len(here), split.train.shape[1]), np.float32)
        for name, source in sources.items():
            scores = _standardised(source(watched), watched)
            parts[name].append(_ranks(scores, wanted))
            if weights[name] > 0:
                blend += weights[name] * scores
        parts["blend"].append(_ranks(blend, wanted))
    ranks = {name: np.concatenate(of_blocks) for name, of_blocks in parts.items()}
    return ranks, {name: _figures(of_source) for name, of_source in ranks.items()}
