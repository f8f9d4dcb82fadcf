"""What comes next, from the order in which a viewer watched: a causal transformer over videos. Optional.

Kang, McAuley: Self-Attentive Sequential Recommendation (ICDM 2018), trained as Klenitskiy, Vasilev: Turning Dross Into
Gold Loss (RecSys 2023) found it best: cross-entropy over all videos, or over many sampled ones, never one negative.
Serving is NumPy on one sequence; `recommender.transformer_torch` trains. Knows nothing of events or releases.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

#: Width of the feed-forward layer, in multiples of `dim`.
EXPANSION = 4
EPSILON = 1e-5
#: Newest videos that `contributions` leaves out one by one: each costs a forward pass, older ones hardly move scores.
EXPLAINED = 8


class TransformerSettings(BaseModel):
    """Defaults that did well on MovieLens-1M in the time that one CPU core can give."""

    model_config = ConfigDict(extra="forbid")

    dim: int = Field(default=64, ge=4, le=1024, description="length of a video's embedding")
    blocks: int = Field(default=2, ge=1, le=12, description="transformer blocks")
    heads: int = Field(default=2, ge=1, le=16, description="attention heads per block; they divide dim")
    length: int = Field(default=100, ge=2, le=1024, description="newest likes of a viewer that are looked at")
    dropout: float = Field(default=0.2, ge=0, lt=1, description="share of activations dropped while training")
    negatives: int = Field(
        default=1024, ge=2, description="videos drawn per batch to tell the next one from; all where there are fewer"
    )
    learning_rate: float = Field(default=2e-3, gt=0, le=1, description="Adam's step")
    batch_positions: int = Field(default=6400, ge=16, description="likes per training step")
    epochs: int = Field(default=60, ge=1, description="most passes over all likes")
    patience: int = Field(default=8, ge=1, description="epochs without a better validation after which training ends")
    budget_s: float | None = Field(
        default=None, gt=0, description="seconds after which no further epoch begins; the best one so far is served"
    )
    precision: Literal["auto", "bfloat16", "float32"] = Field(
        default="auto", description="of the matrix products; auto: bfloat16 on CUDA and on CPUs with AMX"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="where it is trained")
    seed: int = Field(default=0, ge=0, description="of the first weights, the batches and dropout")

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"{self.heads} heads do not divide a dim of {self.dim}")
        return self


class SequenceTransformer:
    """A trained transformer: from columns in the order watched to scores of what comes next.

    Weights, all float32, with V videos, D dim, B blocks, H heads, L length and E = 4 D: items (V, D), rows of 0 for
    videos that nobody met; reach (B, H, L), added to the attention of a video that many steps back; qkv (B, D, 3 D),
    mix (B, D, D), widen (B, D, E), narrow (B, E, D); norms (B, 2, 2, D) and last_norm (2, D), gain and shift.
    """

    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        self._weights = {name: np.ascontiguousarray(array, np.float32) for name, array in weights.items()}
        self._items = self._weights["items"]
        self._known: np.ndarray = np.any(self._items, axis=1)
        self.length = self._weights["reach"].shape[2]

    def scores(self, columns: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """How likely each video comes next: (h,) columns, newest first -> (V,) float32 in 0..1, roots of probabilities.

        The root ranks as the probability does, but beside other models' scores the first few do not drown the rest.
        Only the order counts, the weights do not. Videos that nobody met, and all without a history, score 0.
        """
        return self._expected(self._sequence(columns)[None])[0]

    def contributions(self, columns: np.ndarray, weights: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """How much the score of each wanted video (n) falls when a watched one (h) is left out: (h, n) float32.

        Leave-one-out, not a sum: what two videos say together belongs to neither, so the parts do not add up to the
        score. Only the newest 8 are left out in turn; those further back, and unknown ones, get 0.
        """
        parts = np.zeros((len(columns), len(wanted)), np.float32)
        sequence = self._sequence(columns)
        count = min(len(sequence), EXPLAINED)
        if count:
            places = np.arange(len(sequence) - 1)
            left_out = len(sequence) - 1 - np.arange(count)
            without = sequence[places + (places >= left_out[:, None])]
            fallen = self._expected(sequence[None])[:, wanted] - self._expected(without)[:, wanted]
            parts[np.flatnonzero(self._known[columns])[:count]] = fallen
        return parts

    def arrays(self) -> dict[str, np.ndarray]:
        """The weights, float32, by name."""
        return dict(self._weights)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        return cls(arrays)

    def _sequence(self, columns: np.ndarray) -> np.ndarray:
        """The newest known columns in the order watched, oldest first."""
        return columns[self._known[columns]][: self.length][::-1]

    def _expected(self, sequences: np.ndarray) -> np.ndarray:
        """(S, T) known columns, oldest first -> (S, V) float32: the scores after each sequence."""
        if sequences.shape[1] == 0:
            return np.zeros((len(sequences), len(self._items)), np.float32)
        logits = self._read(sequences) @ self._items.T
        logits[:, ~self._known] = -np.inf
        return np.sqrt(_softmax(logits))

    def _read(self, sequences: np.ndarray) -> np.ndarray:
        """(S, T) known columns, oldest first -> (S, D): what the transformer expects after each sequence."""
        w = self._weights
        blocks, heads, _ = w["reach"].shape
        count, steps = sequences.shape
        dim = self._items.shape[1]
        x = self._items[sequences] * np.float32(dim**0.5)
        back = np.arange(steps)[:, None] - np.arange(steps)
        for block in range(blocks):
            # Nothing but the last step is read from the last block.
            asking = slice(steps - 1, None) if block == blocks - 1 else slice(None)
            qkv = (_normed(x, w["norms"][block, 0]) @ w["qkv"][block]).reshape(count, steps, 3, heads, dim // heads)
            q, k, v = qkv.transpose(2, 0, 3, 1, 4)
            logits = q[:, :, asking] @ k.swapaxes(-1, -2) * np.float32((dim // heads) ** -0.5)
            distance = back[asking]
            logits += np.where(distance >= 0, w["reach"][block][:, np.abs(distance)], np.float32(-np.inf))
            attended = (_softmax(logits) @ v).swapaxes(1, 2).reshape(count, -1, dim)
            x = x[:, asking] + attended @ w["mix"][block]
            x = x + np.maximum(_normed(x, w["norms"][block, 1]) @ w["widen"][block], 0) @ w["narrow"][block]
        return _normed(x[:, -1], w["last_norm"])


def fit_transformer(
    viewer: np.ndarray,
    column: np.ndarray,
    videos: int,
    settings: TransformerSettings | None = None,
    folder: Path | None = None,
    told: Callable[[dict[str, Any]], None] = lambda _: None,
) -> SequenceTransformer:
    """Trains on who liked what, in the order of time: viewer (n,) and column (n,) ints; columns below 0 are left out.

    videos: how many columns there are. The last like of up to 2,000 viewers is held back; the weights are those of
    the epoch whose NDCG@10 of these is best. `told` hears {epoch, loss, ndcg, best, seconds} after every epoch. With
    a folder every epoch is stored there and the next call with the same settings and data goes on from it, to the
    same result; the caller removes it when done.

    Raises ArithmeticError when the numbers do not stay finite, and ValueError when CUDA is wanted and not there.
    """
    from recommender.transformer_torch import train

    settings = settings or TransformerSettings()
    liked = column >= 0
    return SequenceTransformer(train(viewer[liked], column[liked], videos, settings, folder, told))


def _normed(x: np.ndarray, norm: np.ndarray) -> np.ndarray:
    """Layer normalisation over the last axis; norm: (2, D) gain and shift."""
    centred = x - x.mean(axis=-1, keepdims=True)
    spread = np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + np.float32(EPSILON))
    return centred / spread * norm[0] + norm[1]


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
