"""The label head learns what owners say, says how sure it is, and is stored as plain numbers."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import orjson
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from data.embeddings import EmbeddingTable
from data.files import CorruptFileError
from data.home import Home
from data.schema import MediaFacts, Video, VideoState
from data.store import Store
from embedder.batch import embed
from embedder.encoders import Encoder
from embedder.labels import LabelHead, LabelSettings, TooFewLabelsError, apply_labels, head_folder, train_labels

ENCODER = "stub/labels"
DIM = 16


def unit(matrix: np.ndarray) -> np.ndarray:
    return (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32)


def fill(
    store: Store, home: Home, labels: list[list[str]], seed: int = 0, series: list[str] | None = None
) -> EmbeddingTable:
    """Videos with these labels, each label a direction of its own; ready and in the table."""
    generator = np.random.default_rng(seed)
    directions = {name: generator.normal(size=DIM) for name in sorted({name for names in labels for name in names})}
    rows = [sum((directions[name] for name in names), generator.normal(size=DIM) * 0.5) for names in labels]
    ids = [f"v{number:03d}" for number in range(len(labels))]
    store.catalogue.upsert(
        Video(id=video_id, labels=names, media_path=f"{video_id}.mp4", series=series[number] if series else None)
        for number, (video_id, names) in enumerate(zip(ids, labels, strict=True))
    )
    table = EmbeddingTable.create(home.embeddings, ENCODER, DIM)
    table.append(ids, unit(np.stack(rows)))
    for video_id in ids:
        store.catalogue.mark_ready(video_id, ENCODER, MediaFacts(duration_s=1.0))
    return table


@pytest.mark.parametrize("names", [["news", "sport"], ["cats", "news", "sport"]])
def test_one_label_each_is_learnt_as_a_choice(store: Store, home: Home, names: list[str]) -> None:
    table = fill(store, home, [[name] for name in names] * 20)

    report = train_labels(store, table, home)

    assert report.examples == dict.fromkeys(names, 20) and report.left_out == {}
    assert report.accuracy is not None and report.accuracy > 0.95
    assert report.most_common == pytest.approx(1 / len(names))
    confidences = report.head.confidences(np.array(table.matrix))
    assert report.head.kind == "softmax"
    assert confidences.sum(axis=1) == pytest.approx(1.0, abs=1e-5)
    assert (confidences >= 0).all() and (confidences <= 1).all()


@pytest.mark.parametrize("names", [["news", "sport"], ["cats", "news", "sport"]])
def test_the_stored_numbers_are_scikit_learns(store: Store, home: Home, names: list[str]) -> None:
    table = fill(store, home, [[name] for name in names] * 10)
    matrix = np.array(table.matrix, dtype=np.float64)

    head = train_labels(store, table, home, LabelSettings(strength=0.5)).head

    scaled = StandardScaler().fit_transform(matrix)
    reference = LogisticRegression(C=0.5, max_iter=1000).fit(scaled, names * 10)
    assert head.labels == tuple(reference.classes_)
    assert np.abs(head.confidences(matrix.astype(np.float32)) - reference.predict_proba(scaled)).max() < 1e-4


def test_several_labels_each_are_learnt_one_by_one(store: Store, home: Home) -> None:
    table = fill(store, home, [["cats"], ["cats", "music"], ["music"], ["news"]] * 15)

    report = train_labels(store, table, home)

    assert report.head.kind == "sigmoid" and report.accuracy is not None and report.accuracy > 0.9
    both = report.head.predict(np.array(table.matrix[1:2]), threshold=0.5)[0]
    assert set(both) == {"cats", "music"}


def test_predictions_are_ordered_cut_and_stored(store: Store, home: Home) -> None:
    names = ["a", "b", "c", "d"]
    table = fill(store, home, [[name] for name in names] * 10)
    head = train_labels(store, table, home).head

    everything = head.predict(np.array(table.matrix[:1]))[0]
    assert list(everything.values()) == sorted(everything.values(), reverse=True) and set(everything) == set(names)
    assert len(head.predict(np.array(table.matrix[:1]), top=2)[0]) == 2

    assert apply_labels(store, table, head, LabelSettings(threshold=0.5, top=1)) == 40
    for number, record in enumerate(store.catalogue.all()):
        assert list(record.predicted_labels) == [names[number % 4]]
        assert 0.5 <= record.predicted_labels[names[number % 4]] <= 1


def test_rare_labels_are_left_out_and_reported(store: Store, home: Home) -> None:
    table = fill(store, home, [["news"], ["sport"]] * 10 + [["rare"]] * 3)

    report = train_labels(store, table, home, LabelSettings(min_examples=4))

    assert report.left_out == {"rare": 3} and report.head.labels == ("news", "sport")


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ([["news"]] * 10, "at least 2 labels"),
        ([["news"], ["sport"]] * 2, "at least 2 labels"),
        ([[]] * 5, "0 labelled"),
    ],
)
def test_too_little_to_learn_from_is_said(store: Store, home: Home, labels: list[list[str]], says: str) -> None:
    table = fill(store, home, labels)
    with pytest.raises(TooFewLabelsError, match=says):
        train_labels(store, table, home)
    assert not head_folder(home, ENCODER).exists()


def test_the_check_keeps_groups_together(store: Store, home: Home) -> None:
    """Labels by the toss of a coin, one a scene: who has seen another take of the scene knows them all, who has not
    can only guess."""
    generator = np.random.default_rng(1)
    scenes = generator.normal(size=(24, DIM))
    names = generator.choice(["a", "b"], size=24)
    ids = [f"s{scene:02d}t{take}" for scene in range(24) for take in range(4)]
    rows = np.repeat(scenes, 4, axis=0) + generator.normal(size=(96, DIM)) * 0.05
    store.catalogue.upsert(
        Video(id=video_id, labels=[str(names[number // 4])], media_path="x") for number, video_id in enumerate(ids)
    )
    table = EmbeddingTable.create(home.embeddings, ENCODER, DIM)
    table.append(ids, unit(rows))
    for video_id in ids:
        store.catalogue.mark_ready(video_id, ENCODER, MediaFacts())
    settings = LabelSettings(strength=100.0)

    leaky = train_labels(store, table, home, settings).accuracy
    honest = train_labels(store, table, home, settings, {video_id: video_id[:3] for video_id in ids}).accuracy

    assert leaky is not None and honest is not None
    assert leaky > 0.9 and honest < 0.75


def test_a_label_of_one_group_is_learnt_but_not_scored(store: Store, home: Home) -> None:
    table = fill(store, home, [["a"], ["b"]] * 5, series=["one", "two"] * 5)
    assert train_labels(store, table, home).accuracy is None


def test_vectors_of_media_that_were_replaced_are_not_learnt_from(store: Store, home: Home) -> None:
    table = fill(store, home, [["news"], ["sport"]] * 5)
    store.catalogue.upsert([Video(id="v000", labels=["news"], media_path="new.mp4")])
    assert store.catalogue.get("v000").state == VideoState.PENDING  # type: ignore[union-attr]

    assert train_labels(store, table, home, LabelSettings(min_examples=4)).examples == {"news": 4, "sport": 5}


# ---- On disk -----------------------------------------------------------------------------------------------


def test_a_head_is_stored_and_read_back(store: Store, home: Home) -> None:
    table = fill(store, home, [["news"], ["sport"], ["cats"]] * 10)
    first = train_labels(store, table, home).head
    second = train_labels(store, table, home, LabelSettings(strength=1.0)).head

    loaded = LabelHead.load(home, ENCODER)

    matrix = np.array(table.matrix)
    assert np.array_equal(loaded.confidences(matrix), second.confidences(matrix))
    assert not np.array_equal(loaded.confidences(matrix), first.confidences(matrix))
    assert len(list(head_folder(home, ENCODER).glob("*.safetensors"))) == 1, "the older numbers are gone"


def test_a_check_alone_stores_nothing(store: Store, home: Home) -> None:
    table = fill(store, home, [["news"], ["sport"]] * 10)
    report = train_labels(store, table, home, save=False)
    assert report.accuracy is not None and report.folder is None and not head_folder(home, ENCODER).exists()


def test_a_damaged_head_is_refused(store: Store, home: Home) -> None:
    table = fill(store, home, [["news"], ["sport"]] * 10)
    train_labels(store, table, home)
    folder = head_folder(home, ENCODER)
    (numbers,) = folder.glob("*.safetensors")
    content = bytearray(numbers.read_bytes())
    content[-1] ^= 0xFF
    numbers.write_bytes(content)

    with pytest.raises(CorruptFileError, match="damaged"):
        LabelHead.load(home, ENCODER)
    (folder / "head.json").write_bytes(orjson.dumps({"format": 1, "encoder_id": ENCODER}))
    with pytest.raises(CorruptFileError):
        LabelHead.load(home, ENCODER)
    with pytest.raises(FileNotFoundError):
        LabelHead.load(home, "another/encoder")


def test_reading_a_head_needs_no_scikit_learn(store: Store, home: Home) -> None:
    table = fill(store, home, [["news"], ["sport"]] * 10)
    train_labels(store, table, home)
    script = (
        "import sys; from data.home import Home; from embedder.labels import LabelHead;"
        "import numpy as np; LabelHead.load(Home.at(sys.argv[1]), sys.argv[2]).predict(np.zeros((1, 16), np.float32));"
        "sys.exit('sklearn' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(home.root), ENCODER], timeout=60).returncode == 0


def test_a_head_does_not_read_another_encoders_vectors(store: Store, home: Home) -> None:
    table = fill(store, home, [["news"], ["sport"]] * 10)
    head = train_labels(store, table, home).head
    other = EmbeddingTable.create(home.embeddings, "another/encoder", DIM)

    with pytest.raises(ValueError, match="train labels again"):
        apply_labels(store, other, head)
    with pytest.raises(ValueError, match="shape"):
        head.predict(np.zeros((1, DIM + 1), np.float32))


# ---- Real clips --------------------------------------------------------------------------------------------


def test_real_actions_are_told_apart(store: Store, home: Home, encoder: Encoder, shared_clips: Path) -> None:
    """Three of the ten single-person actions, people left out in turn: far better than a guess (1/3)."""
    chosen = {"wz_bend", "wz_jack", "wz_walk"}
    with (shared_clips / "MANIFEST.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["label"] in chosen and row["collection"] == "dev"]
    store.catalogue.upsert(
        Video(id=row["path"], labels=[row["label"]], media_path=str(shared_clips / row["path"])) for row in rows
    )
    embed(store, home, encoder=encoder)
    table = EmbeddingTable.create(home.embeddings, encoder.id, encoder.dim)

    report = train_labels(store, table, home, groups={row["path"]: row["group"] for row in rows})

    assert report.accuracy is not None and report.accuracy > 0.7
