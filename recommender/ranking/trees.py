"""Regression trees as a few arrays, which score the candidates of one request in a fraction of the time that the
library takes for so few rows, and give the same numbers.

Lucchese et al.: QuickScorer, a Fast Algorithm to Rank Documents with Additive Ensembles of Regression Trees (SIGIR
2015): every node whose answer is no rules out the leaves below its yes; the first leaf that is left is the one. Knows
nothing of who trained them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recommender.compiled import compiled, reads, writes

#: Leaves of a tree are the bits of a whole number of 16.
MOST_LEAVES = 16
_MOST_NODES = MOST_LEAVES - 1
_FIRST_LEFT = np.array(
    [min((~ruled_out & (ruled_out + 1)).bit_length() - 1, _MOST_NODES) for ruled_out in range(1 << MOST_LEAVES)],
    np.uint8,
)


class TreeArrays:
    """The sum of T trees over F features."""

    def __init__(self, trees: Sequence[Mapping[str, Any]], features: int) -> None:
        """trees: nested nodes as LightGBM dumps them (`tree_structure`).

        Raises ValueError for what these arrays cannot say: too many leaves, categories, zeros that mean missing.
        """
        nodes = (len(trees), _MOST_NODES)
        self._rows = np.zeros(nodes, np.int64)
        # The places of nodes that are not there rule out nothing.
        self._thresholds = np.full(nodes, np.inf, np.float32)
        self._ruled_out = np.zeros(nodes, np.uint16)
        self._values = np.zeros((len(trees), MOST_LEAVES))
        self._features = features
        for tree, root in enumerate(trees):
            self._add(tree, root, [0, 0])

    def _add(self, tree: int, node: Mapping[str, Any], used: list[int]) -> int:
        """Writes a node and what is below it behind the nodes and leaves that are `used`; the bits of its leaves."""
        if "leaf_value" in node:
            leaf = used[1]
            if leaf == MOST_LEAVES:
                raise ValueError(f"a tree has more than {MOST_LEAVES} leaves")
            used[1] += 1
            self._values[tree, leaf] = node["leaf_value"]
            return 1 << leaf
        if node["decision_type"] != "<=" or node["missing_type"] == "Zero":
            raise ValueError(
                f"splits by {node['decision_type']} with {node['missing_type']} missing are not known here"
            )
        place = used[0]
        if place == _MOST_NODES:
            raise ValueError(f"a tree has more than {MOST_LEAVES} leaves")
        used[0] += 1
        threshold = float(node["threshold"])
        # Where no candidate lacked a value, one that does counts as 0.
        lacking_goes_right = not node["default_left"] if node["missing_type"] == "NaN" else threshold < 0
        self._rows[tree, place] = node["split_feature"] + self._features * lacking_goes_right
        self._thresholds[tree, place] = _at_most(threshold)
        self._ruled_out[tree, place] = left = self._add(tree, node["left_child"], used)
        return left | self._add(tree, node["right_child"], used)

    def scores(self, features: np.ndarray) -> np.ndarray:
        """(F, n) float32, NaN where a value is lacking -> (n,) float64. Quickest where each feature lies together.

        Raises ValueError for another number of features.
        """
        count, candidates = features.shape
        if count != self._features:
            raise ValueError(f"{count} features, where the trees were trained on {self._features}")
        known = np.empty((2 * count, candidates), np.float32)
        scores = np.zeros(candidates)
        with_lacking = np.ascontiguousarray(features)
        _add_up(with_lacking, known, self._rows, self._thresholds, self._ruled_out, self._values, _FIRST_LEFT, scores)
        return scores


@compiled(
    reads("float32", 2), writes("float32", 2), reads("int64", 2), reads("float32", 2), reads("uint16", 2),
    reads("float64", 2), reads("uint8"), writes("float64"),
)  # fmt: skip
def _add_up(
    features: np.ndarray,
    known: np.ndarray,
    rows: np.ndarray,
    thresholds: np.ndarray,
    ruled_out: np.ndarray,
    values: np.ndarray,
    first_left: np.ndarray,
    scores: np.ndarray,
) -> None:
    count, candidates = features.shape
    # What is lacking is below all thresholds for some nodes and above them for others.
    for feature in range(count):
        for candidate in range(candidates):
            value = features[feature, candidate]
            is_lacking = np.isnan(value)
            known[feature, candidate] = np.float32(-np.inf) if is_lacking else value
            known[count + feature, candidate] = np.float32(np.inf) if is_lacking else value
    out = np.empty(candidates, np.uint16)
    for tree in range(len(rows)):
        out[:] = 0
        for node in range(rows.shape[1]):
            bits = ruled_out[tree, node]
            if bits == 0:
                break
            value_of, threshold = known[rows[tree, node]], thresholds[tree, node]
            for candidate in range(candidates):
                out[candidate] |= bits if value_of[candidate] > threshold else np.uint16(0)
        for candidate in range(candidates):
            scores[candidate] += values[tree, first_left[out[candidate]]]


def _at_most(threshold: float) -> np.float32:
    """The greatest float32 that is not above a threshold: what is compared with it is float32, too."""
    with np.errstate(over="ignore"):
        nearest = np.float32(threshold)
    return nearest if float(nearest) <= threshold else np.nextafter(nearest, np.float32(-np.inf))
