"""Taste from the graph of who watched what: LightGCN. Optional.

He et al.: LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation (SIGIR 2020). Viewers are not
stored: a viewer is folded in as one more node, from the history at request time. `recommender.graph_torch` trains.
Knows nothing of events or releases.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, Self

import numpy as np
import scipy.sparse as sp
from pydantic import BaseModel, ConfigDict, Field


class GraphSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    factors: int = Field(default=64, ge=2, le=1024, description="length of an embedding")
    layers: int = Field(default=2, ge=1, le=8, description="how many steps embeddings travel along the graph")
    negatives: int = Field(
        default=1024, ge=2, description="videos drawn per batch to tell a liked one from; all where there are fewer"
    )
    regularization: float = Field(default=1e-4, ge=0, description="weight of the squared embeddings of a batch")
    learning_rate: float = Field(default=1e-2, gt=0, le=1, description="Adam's step")
    batch_likes: int = Field(default=65_536, ge=16, description="likes per training step; each walks the whole graph")
    epochs: int = Field(default=30, ge=1, description="passes over all likes")
    budget_s: float | None = Field(default=None, gt=0, description="seconds after which no further epoch begins")
    precision: Literal["auto", "bfloat16", "float32"] = Field(
        default="auto", description="of the loss's matrix products; auto: bfloat16 on CUDA and on CPUs with AMX"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="where it is trained")
    seed: int = Field(default=0, ge=0, description="of the first embeddings and the batches")


class GraphFactors:
    """What the graph says of V videos: both float32, rows of 0 for videos that nobody met.

    items (V, F): a video's embedding, the mean over the layers; sent (V, F): what a video hands on to each of its
    viewers over all layers, divided by the root of the video's audience.
    """

    def __init__(self, items: np.ndarray, sent: np.ndarray) -> None:
        self.items = items
        self.sent = sent

    def fold_in(self, columns: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """A viewer's embedding (F,) float32 from videos (h,) and their positive weights (h,).

        LightGCN's own propagation to a viewer who starts from 0 and whose edges do not change the rest of the graph:
        the sum of what the videos send, divided by the root of the viewer's summed weights.
        """
        return self._shares(weights) @ self.sent[columns]

    def scores(self, columns: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Scores of all videos for a history: (h,) columns and weights -> (V,) float32."""
        return self.items @ self.fold_in(columns, weights)

    def contributions(self, columns: np.ndarray, weights: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """How much each watched video (h) adds to the score of each wanted one (n): (h, n) float32, sums to it."""
        return self._shares(weights)[:, None] * (self.sent[columns] @ self.items[wanted].T)

    def arrays(self) -> dict[str, np.ndarray]:
        """All that is stored, float32, by name."""
        return {"items": self.items, "sent": self.sent}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        return cls(arrays["items"], arrays["sent"])

    @staticmethod
    def _shares(weights: np.ndarray) -> np.ndarray:
        total = np.float32(weights.sum())
        return weights / np.sqrt(total) if total > 0 else weights


def fit_graph(
    positives: sp.csr_matrix,
    settings: GraphSettings | None = None,
    told: Callable[[dict[str, Any]], None] = lambda _: None,
) -> GraphFactors:
    """Trains on the pattern of (U, V) positive signals. `told` hears {epoch, loss, seconds} after every epoch.

    Raises ArithmeticError when the numbers do not stay finite, and ValueError when CUDA is wanted and not there.
    """
    from recommender.graph_torch import train

    return GraphFactors(*train(positives, settings or GraphSettings(), told))
