"""Releases: never changed, checked before they are served, and never half published."""

from pathlib import Path

import numpy as np
import pytest

from data.files import CorruptFileError
from data.home import Home
from data.store import Store
from recommender.policy.looks import compact_looks
from recommender.refresh import refresh
from recommender.release import ReleaseError, Releases, load_release, verify_release
from tests.recommender.small_world import DIM, ENCODER, SETTINGS

SPARSE = ("data", "indices", "indptr", "shape")
STRINGS = ("begins", "slots", "text")
ARRAYS = {
    "cold_start": ("labels", "reference", "words", *(f"map.{name}" for name in (
        "coefficients", "facts", "intercept", "mean.labels", "mean.looks", "mean.words", "reach", "places",
        "scale.labels", "scale.looks", "scale.words", "whitening",
    ))),
    "catalogue": (
        "_everywhere", "_media", "available_from", "available_until", "column_of_number", "content", "created_at",
        "creator", "duplicate_group", "duration_s", "episode", "facts", "in_country", "label_codes",
        "label_matrix.indices", "label_matrix.indptr", "numbers", "published_at", "rating", "series", "shown",
        "word_codes", *(f"{table}.{name}" for table in ("creator", "label", "series") for name in STRINGS),
        "titles.begins", "titles.text",
    ),
    "collaborative": ("alpha", "items", "regularization"),
    "index": ("ids",),
    "item_item": SPARSE,
    "looks": ("mean", "rows", "vectors"),
    "popularity": ("columns", "countries", "country_weight", "counts", "sums", "viewers", "world"),
    "sequential": SPARSE,
    "videos": STRINGS,
    "walks": SPARSE,
}  # fmt: skip
FILES = sorted(["index.faiss", *(f"{part}.{name}.npy" for part, names in ARRAYS.items() for name in names)])


@pytest.fixture
def releases(world: Store, home: Home) -> Releases:
    refresh(world, home, SETTINGS)
    return Releases(home.releases)


def more(world: Store, home: Home, number: int) -> list[str]:
    return [refresh(world, home, SETTINGS).release_id for _ in range(number)]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_release_holds_what_its_manifest_says(releases: Releases, world: Store) -> None:
    release = releases.load_current()
    manifest = release.manifest
    assert sorted(manifest["files"]) == FILES
    assert sorted(path.name for path in releases.folder(release.id).iterdir()) == sorted([*FILES, "manifest.json"])
    assert list(release.videos) == [record.id for record in world.catalogue.all()]
    assert len(release.videos) == len(release.viewers) == release.popularity.world.shape[1] == len(release.index)
    assert release.models["collaborative"].items.shape == (30, 4)
    assert release.models["item_item"].weights.shape == (30, 30)
    assert set(release.popularity.countries) == {"DE", "US", "FR"}
    assert (manifest["encoder"], manifest["index"]) == (ENCODER, f"flat-float32/{DIM}")
    assert manifest["collaborative"] == "collaborative+item_item+walks+sequential"
    assert manifest["counts"] == {"videos": 30, "embeddings": 30, "viewers": 24, "interactions": 120}
    assert manifest["until_seq"] == world.events.last_seq()


@pytest.mark.parametrize("name", FILES)
def test_one_altered_byte_is_noticed(releases: Releases, name: str) -> None:
    folder = releases.folder(releases.current_id())
    damage(folder / name)
    with pytest.raises(CorruptFileError, match=name):
        verify_release(folder)
    with pytest.raises(CorruptFileError, match=name):
        load_release(folder)
    (folder / name).unlink()
    with pytest.raises(CorruptFileError, match="missing"):
        releases.load_current()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"5", b'{"format": 99}', b'{"format": 3}'])
def test_a_damaged_manifest_is_no_release_but_stays_in_the_list(releases: Releases, content: bytes) -> None:
    current = releases.current_id()
    (releases.folder(current) / "manifest.json").write_bytes(content)
    with pytest.raises(CorruptFileError, match=current):
        releases.load_current()
    (listed,) = releases.list()
    assert listed["id"] == current and listed["current"] and listed["damaged"]


def test_the_newest_release_is_listed_first_and_the_served_one_is_marked(
    releases: Releases, world: Store, home: Home
) -> None:
    first = releases.current_id()
    second, third = more(world, home, 2)
    assert [(one["id"], one["current"]) for one in releases.list()] == [(third, True), (second, False), (first, False)]


def test_publishing_changes_one_line_and_nothing_else(releases: Releases, world: Store, home: Home) -> None:
    first = releases.current_id()
    before = contents(releases.folder(first))
    (second,) = more(world, home, 1)
    releases.publish(first)
    assert (home.releases / "CURRENT").read_text() == f"{first}\n"
    assert contents(releases.folder(first)) == before
    assert not [path for path in home.releases.iterdir() if path.name.endswith(".tmp")]
    damage(releases.folder(second) / "collaborative.items.npy")
    with pytest.raises(CorruptFileError):
        releases.publish(second)
    assert releases.current_id() == first, "a damaged release is not served"


def test_a_rollback_serves_the_release_before(releases: Releases, world: Store, home: Home) -> None:
    first = releases.current_id()
    second, third = more(world, home, 2)
    assert [releases.rollback(), releases.rollback()] == [second, first]
    assert releases.load_current().id == first
    with pytest.raises(ReleaseError, match="no older release"):
        releases.rollback()
    assert releases.rollback(third) == third == releases.current_id()


def test_pruning_never_takes_the_served_release(releases: Releases, world: Store, home: Home) -> None:
    first = releases.current_id()
    second, third = more(world, home, 2)
    releases.rollback(first)
    pruned: list[str] = []
    releases.prune(1, pruned.append)
    assert pruned == [second] and {one["id"] for one in releases.list()} == {first, third}
    releases.prune(0)
    assert [one["id"] for one in releases.list()] == [first]
    releases.load_current()


@pytest.mark.parametrize("name", ["", ".", "..", ".building", "nothing", "../home", "a/b", "CURRENT"])
def test_no_name_leads_out_of_the_shelf(releases: Releases, name: str) -> None:
    with pytest.raises(ReleaseError):
        releases.folder(name)
    with pytest.raises(ReleaseError):
        releases.publish(name)


def test_without_a_release_there_is_none(home: Home) -> None:
    shelf = Releases(home.releases)
    assert shelf.current_id() is None and shelf.list() == []
    with pytest.raises(ReleaseError, match="watchnext refresh"):
        shelf.load_current()


def test_a_loaded_release_scores_like_the_arrays_on_disk(releases: Releases) -> None:
    release = releases.load_current()
    folder = releases.folder(release.id)
    np.testing.assert_array_equal(release.models["collaborative"].items, np.load(folder / "collaborative.items.npy"))
    _, vectors = release.index.vectors(np.arange(30))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert release.looks is not None
    for stored, made in zip(
        release.looks(np.arange(30)), compact_looks(np.arange(30), vectors, 30)(np.arange(30)), strict=True
    ):
        np.testing.assert_allclose(stored, made, atol=1e-5)
