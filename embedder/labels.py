"""Category labels from embeddings: a linear head trained on what owners have labelled.

Logistic regression on standardised embeddings: softmax when every video has one label, one sigmoid a label when
some have several. The head is stored as numbers (safetensors + JSON, no pickle) and read without scikit-learn.
Knows nothing of files with videos in them, nor of who watches them.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, Field
from safetensors.numpy import load_file
from safetensors.numpy import save as to_bytes
from threadpoolctl import threadpool_limits

from data.embeddings import EmbeddingTable, folder_name
from data.files import CorruptFileError, replacing, sha256_of, verify_checksum, write_json
from data.home import Home
from data.schema import VideoState
from data.store import Store

MANIFEST = "head.json"
FORMAT = 1
FOLDS = 5
APPLY_AT_ONCE = 4096


class LabelSettings(BaseModel):
    """How labels are learnt and given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_examples: int = Field(
        default=5, ge=2, description="labels with fewer labelled and embedded videos are left out"
    )
    strength: float = Field(default=0.03, gt=0, description="inverse of the regularisation (scikit-learn's C)")
    threshold: float = Field(default=0.2, ge=0, le=1, description="confidence from which a label is stored")
    top: int = Field(default=5, ge=1, description="labels stored for a video at most")


class TooFewLabelsError(ValueError):
    """There is not enough that owners have labelled to learn from; the message says what is missing."""


@dataclass(frozen=True)
class LabelHead:
    """`weight`: (labels, dim) float32. `bias`: (labels,) float32. `kind`: "softmax" (one label a video: confidences
    sum to 1) or "sigmoid" (each label by itself)."""

    encoder_id: str
    labels: tuple[str, ...]
    kind: Literal["softmax", "sigmoid"]
    weight: np.ndarray
    bias: np.ndarray

    def confidences(self, matrix: np.ndarray) -> np.ndarray:
        """(N, labels) float32, 0..1, of embeddings (N, dim). Raises ValueError for another dimension."""
        if matrix.ndim != 2 or matrix.shape[1] != self.weight.shape[1]:
            raise ValueError(f"expected embeddings of shape (N, {self.weight.shape[1]}), got {matrix.shape}")
        scores = matrix @ self.weight.T + self.bias
        if self.kind == "sigmoid":
            return 0.5 * (1 + np.tanh(scores / 2))
        exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)

    def predict(self, matrix: np.ndarray, threshold: float = 0.0, top: int | None = None) -> list[dict[str, float]]:
        """For each embedding its labels with their confidences, surest first: the `top` ones from `threshold` up."""
        confidences = self.confidences(matrix)
        order = np.argsort(-confidences, axis=1, kind="stable")[:, :top]
        return [
            {self.labels[column]: float(row[column]) for column in columns if row[column] >= threshold}
            for row, columns in zip(confidences, order, strict=True)
        ]

    def save(self, home: Home) -> Path:
        """Stores the head of its encoder, in place of an older one; returns its folder."""
        folder = head_folder(home, self.encoder_id)
        numbers = to_bytes({"weight": np.ascontiguousarray(self.weight), "bias": np.ascontiguousarray(self.bias)})
        # Numbers under a name of their own, then the manifest that names them: readers see the old head or the new.
        previous = {path.name for path in folder.glob("head-*.safetensors")}
        aside = folder / "head-new.safetensors"
        with replacing(aside) as file:
            file.write(numbers)
        digest = sha256_of(aside)
        name = f"head-{digest[:12]}.safetensors"
        aside.replace(folder / name)
        write_json(
            folder / MANIFEST,
            {
                "format": FORMAT,
                "encoder_id": self.encoder_id,
                "labels": list(self.labels),
                "kind": self.kind,
                "file": name,
                "sha256": digest,
            },
        )
        for old in previous - {name}:
            (folder / old).unlink(missing_ok=True)
        return folder

    @classmethod
    def load(cls, home: Home, encoder_id: str) -> "LabelHead":
        """The stored head of an encoder. Raises FileNotFoundError when none was trained, CorruptFileError when it
        is damaged."""
        folder = head_folder(home, encoder_id)
        content = (folder / MANIFEST).read_bytes()
        try:
            manifest: dict[str, Any] = orjson.loads(content)
            if manifest["format"] != FORMAT or manifest["encoder_id"] != encoder_id:
                raise CorruptFileError(f"{folder} holds a label head of another format or encoder")
            verify_checksum(folder / manifest["file"], manifest["sha256"])
            numbers = load_file(folder / manifest["file"])
            labels = tuple(manifest["labels"])
            if numbers["weight"].shape[0] != len(labels) or numbers["bias"].shape != (len(labels),):
                raise CorruptFileError(f"{folder} names {len(labels)} labels for {numbers['weight'].shape} weights")
            return cls(encoder_id, labels, manifest["kind"], numbers["weight"], numbers["bias"])
        except (KeyError, TypeError, orjson.JSONDecodeError) as error:
            raise CorruptFileError(f"{folder / MANIFEST} is damaged: {error}") from error


def head_folder(home: Home, encoder_id: str) -> Path:
    """Where the head of an encoder is stored."""
    return home.models / "labels" / folder_name(encoder_id)


# ---- Training ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LabelReport:
    """`folder`: where the head was stored, if it was. `examples`: videos per label that were learnt from.
    `left_out`: labels with too few, and how many they have. `accuracy`: share 0..1 of videos whose surest label,
    predicted by a head that has not seen them (nor their group), is one of the owner's; None when there are too
    few groups to split. `most_common`: what always answering the most common label would reach."""

    head: LabelHead
    folder: Path | None
    examples: dict[str, int]
    left_out: dict[str, int]
    accuracy: float | None
    most_common: float


def train_labels(
    store: Store,
    table: EmbeddingTable,
    home: Home,
    settings: LabelSettings | None = None,
    groups: Mapping[str, str] | None = None,
    save: bool = True,
) -> LabelReport:
    """Learns labels from the catalogue's labelled videos that have an embedding, and stores the head (unless
    `save` is false).

    `groups`: video id -> what it must not be separated from in the check (episodes of a series, takes of a scene);
    without it videos of one `series` stay together. Raises TooFewLabelsError with fewer than two labels.
    """
    settings = settings or LabelSettings()
    records = [record for record in store.catalogue.all(VideoState.READY) if record.labels]
    rows = table.rows_of([record.id for record in records])
    labelled = [(record, row) for record, row in zip(records, rows.tolist(), strict=True) if row >= 0]
    counts = Counter(label for record, _ in labelled for label in set(record.labels))
    labels = tuple(sorted(label for label, count in counts.items() if count >= settings.min_examples))
    if len(labels) < 2:
        raise TooFewLabelsError(
            f"labels are learnt from at least 2 labels with {settings.min_examples} embedded videos each; "
            f"there are {len(labels)} (of {len(records)} labelled, encoded videos {len(labelled)} are in this table). "
            "Give more videos labels, or encode them first"
        )
    labelled = [(record, row) for record, row in labelled if set(record.labels) & set(labels)]
    targets = np.array([[label in record.labels for label in labels] for record, _ in labelled])
    matrix = np.asarray(table.matrix[[row for _, row in labelled]], dtype=np.float64)
    groups = groups or {}
    keys = [groups.get(record.id) or record.series or record.id for record, _ in labelled]
    # These products are small: more threads only wait for each other (7 s instead of .1 s on a busy machine).
    with threadpool_limits(1):
        head = _fit(matrix, targets, labels, table.encoder_id, settings)
        accuracy = _cross_validated(matrix, targets, labels, keys, table.encoder_id, settings)
    return LabelReport(
        head=head,
        folder=head.save(home) if save else None,
        examples={label: counts[label] for label in labels},
        left_out={label: count for label, count in sorted(counts.items()) if label not in labels},
        accuracy=accuracy,
        most_common=float(targets.mean(axis=0).max()),
    )


def _fit(
    matrix: np.ndarray, targets: np.ndarray, labels: tuple[str, ...], encoder_id: str, settings: LabelSettings
) -> LabelHead:
    """`matrix`: (N, dim) float64. `targets`: (N, labels) bool, each label with and, where several are given to a
    video, without an example."""
    from sklearn.linear_model import LogisticRegression

    mean, deviation = matrix.mean(axis=0), matrix.std(axis=0)
    deviation[deviation == 0] = 1.0
    standardised = (matrix - mean) / deviation

    def regression() -> LogisticRegression:
        return LogisticRegression(C=settings.strength, max_iter=1000)

    kind: Literal["softmax", "sigmoid"]
    if (targets.sum(axis=1) == 1).all():
        kind = "softmax"
        model = regression().fit(standardised, targets.argmax(axis=1))
        weight, bias = model.coef_, model.intercept_
        if len(labels) == 2:  # scikit-learn keeps one row for two classes: the second against the first
            weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    else:
        kind = "sigmoid"
        columns = [_one_label(regression(), standardised, column) for column in targets.T]
        weight, bias = np.stack([column[0] for column in columns]), np.array([column[1] for column in columns])
    weight = weight / deviation
    return LabelHead(encoder_id, labels, kind, weight.astype(np.float32), (bias - weight @ mean).astype(np.float32))


def _one_label(model: Any, matrix: np.ndarray, has_it: np.ndarray) -> tuple[np.ndarray, float]:
    """(weight (dim,), bias) of one label against the rest. A label that all or none of the videos have is not
    learnt from pictures: it gets their share, (n + 1) / (N + 2)."""
    if has_it.all() or not has_it.any():
        share = (has_it.sum() + 1) / (len(has_it) + 2)
        return np.zeros(matrix.shape[1]), float(np.log(share / (1 - share)))
    model.fit(matrix, has_it)
    return model.coef_[0], float(model.intercept_[0])


def _cross_validated(
    matrix: np.ndarray,
    targets: np.ndarray,
    labels: tuple[str, ...],
    groups: Sequence[str],
    encoder_id: str,
    settings: LabelSettings,
) -> float | None:
    from sklearn.model_selection import StratifiedGroupKFold

    strata = targets.argmax(axis=1)
    groups_of_label = [len({groups[row] for row in np.flatnonzero(column).tolist()}) for column in targets.T]
    folds = min(FOLDS, *groups_of_label)
    if folds < 2:
        return None  # a label of one group cannot be both learnt and checked
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    right = 0
    for train, test in splitter.split(matrix, strata, groups):
        known = np.flatnonzero(targets[train].any(axis=0))
        if len(known) < 2:
            return None
        head = _fit(matrix[train], targets[np.ix_(train, known)], tuple(labels[i] for i in known), encoder_id, settings)
        surest = known[head.confidences(matrix[test]).argmax(axis=1)]
        right += int(targets[test, surest].sum())
    return right / len(matrix)


# ---- Predicting --------------------------------------------------------------------------------------------


def apply_labels(store: Store, table: EmbeddingTable, head: LabelHead, settings: LabelSettings | None = None) -> int:
    """Stores the head's labels for every video of the table; returns for how many.

    Raises ValueError when the table holds vectors of another encoder than the head was trained on.
    """
    settings = settings or LabelSettings()
    if head.encoder_id != table.encoder_id:
        raise ValueError(
            f"the label head was trained on {head.encoder_id}, the table holds {table.encoder_id}: train labels again"
        )
    for rows in _chunks(range(len(table)), APPLY_AT_ONCE):
        found = head.predict(np.asarray(table.matrix[rows.start : rows.stop]), settings.threshold, settings.top)
        store.catalogue.set_predicted_labels(dict(zip(table.ids[rows.start : rows.stop], found, strict=True)))
    return len(table)


def _chunks(rows: range, size: int) -> Iterator[range]:
    return (rows[start : start + size] for start in range(0, len(rows), size))
