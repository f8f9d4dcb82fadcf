"""The index finds what a comparison with every vector finds, whatever its kind."""

from pathlib import Path

import numpy as np
import pytest

from data.files import CorruptFileError
from recommender.index import IndexSettings, VectorIndex

COUNT, DIM = 3_000, 16
KINDS = {
    "flat": IndexSettings(),
    "hnsw": IndexSettings(exact_below=0),
    "ivf": IndexSettings(exact_below=0, ivf_from=0, ivf_probes=48),
}


def clustered(count: int, seed: int) -> np.ndarray:
    """Normalised vectors around 60 centres, as videos are around their subjects."""
    centres = np.random.default_rng(0).normal(size=(60, DIM))
    rng = np.random.default_rng(seed)
    vectors = centres[rng.integers(0, len(centres), count)] + 0.4 * rng.normal(size=(count, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


MATRIX, QUERIES = clustered(COUNT, 1), clustered(40, 2)
IDS = np.random.default_rng(3).permutation(COUNT * 2)[:COUNT]


@pytest.fixture(scope="module", params=KINDS)
def index(request: pytest.FixtureRequest) -> VectorIndex:
    built = VectorIndex.build(MATRIX, IDS, KINDS[request.param])
    assert (built.kind, len(built), built.dim) == (request.param, COUNT, DIM)
    return built


def nearest(k: int, eligible: np.ndarray) -> np.ndarray:
    """The ids of the k nearest eligible rows of each query, by comparison with all."""
    scores = np.where(eligible, QUERIES @ MATRIX.T, -np.inf)
    return IDS[np.argsort(-scores, axis=1, kind="stable")[:, :k]]


def recall(found: np.ndarray, exact: np.ndarray) -> float:
    return float(np.mean([len(np.intersect1d(a, b)) / exact.shape[1] for a, b in zip(found, exact, strict=True)]))


def some_eligible(share: float) -> np.ndarray:
    return np.random.default_rng(4).random(COUNT) < share


@pytest.mark.parametrize(("k", "share"), [(10, 1.0), (10, 0.5), (10, 0.12), (10, 0.05), (200, 1.0), (200, 0.12)])
def test_the_nearest_eligible_vectors_are_found(index: VectorIndex, k: int, share: float) -> None:
    eligible = some_eligible(share)
    ids, cosines = index.search(QUERIES, k, None if share == 1.0 else eligible)
    assert ids.shape == cosines.shape == (len(QUERIES), k) and cosines.dtype == np.float32
    assert set(ids[ids >= 0]) <= set(IDS[eligible]), "nothing but what is eligible"
    assert (np.diff(cosines, axis=1) <= 1e-6).all(), "best first"
    row_of = {int(name): row for row, name in enumerate(IDS)}
    rows = np.vectorize(row_of.get)(ids)
    np.testing.assert_allclose(cosines, (QUERIES[:, None] * MATRIX[rows]).sum(axis=2), atol=1e-5)
    assert all(len(set(row)) == k for row in ids), "each once"
    exact = nearest(k, eligible)
    assert recall(ids, exact) >= (1.0 if index.kind == "flat" or share < 0.1 else 0.97)


def test_a_search_among_a_few_looks_longer() -> None:
    """What is not eligible takes places of the list that HNSW searches with."""
    index = VectorIndex.build(MATRIX, IDS, IndexSettings(exact_below=0, ef_search=8))
    eligible = some_eligible(0.15)
    assert recall(index.search(QUERIES, 20, eligible)[0], nearest(20, eligible)) >= 0.97


def test_ivf_looks_into_as_few_cells_as_the_wanted_recall_needs() -> None:
    def built(wanted: float, most: int = 64, asked: np.ndarray | None = None) -> VectorIndex:
        settings = IndexSettings(exact_below=0, ivf_from=0, ivf_recall=wanted, ivf_probes=most)
        return VectorIndex.build(MATRIX, IDS, settings, asked)

    few, many = built(0.5), built(0.999)
    assert few.probes is not None and many.probes is not None and few.probes < many.probes
    assert recall(many.search(QUERIES, 100)[0], nearest(100, np.ones(COUNT, bool))) >= 0.99
    assert built(0.999, most=2).probes == 2
    between = np.random.default_rng(5).normal(size=(40, DIM)).astype(np.float32)
    assert (built(0.9, asked=between).probes or 0) > (built(0.9).probes or 0), "what lies between cells needs more"
    assert VectorIndex.build(MATRIX, IDS).probes is None


@pytest.mark.parametrize("few", [0, 1, 3])
def test_where_fewer_are_eligible_the_rest_is_empty(index: VectorIndex, few: int) -> None:
    eligible = np.zeros(COUNT, bool)
    eligible[[5, 700, 2_999][:few]] = True
    ids, cosines = index.search(QUERIES, 10, eligible)
    assert ids.shape == cosines.shape == (len(QUERIES), 10)
    assert (ids[:, :few] == nearest(few, eligible)).all()
    assert (ids[:, few:] == -1).all() and (cosines[:, few:] == -np.inf).all()


def test_no_more_than_there_are_is_returned() -> None:
    small = VectorIndex.build(MATRIX[:4], IDS[:4])
    assert small.search(QUERIES, 10)[0].shape == (len(QUERIES), 4)
    empty = VectorIndex.build(MATRIX[:0], IDS[:0])
    assert empty.search(QUERIES, 10)[0].shape == (len(QUERIES), 0)
    assert empty.vectors(np.array([1]))[1].shape == (0, DIM)


def test_vectors_come_back_by_their_ids(index: VectorIndex) -> None:
    here, vectors = index.vectors(np.array([IDS[7], IDS.max() + 5, IDS[0]]))
    assert here.tolist() == [True, False, True]
    np.testing.assert_array_equal(vectors, MATRIX[[7, 0]])


def test_an_index_is_the_same_after_saving(index: VectorIndex, tmp_path: Path) -> None:
    index.save(tmp_path / "index.faiss")
    loaded = VectorIndex.load(tmp_path / "index.faiss", IDS)
    assert loaded.kind == index.kind
    for eligible in (None, some_eligible(0.3), some_eligible(0.02)):
        for before, after in zip(
            index.search(QUERIES, 10, eligible), loaded.search(QUERIES, 10, eligible), strict=True
        ):
            np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: b"no index", lambda content: content[:-100]])
def test_a_damaged_file_is_refused(index: VectorIndex, tmp_path: Path, damage) -> None:
    index.save(tmp_path / "index.faiss")
    content = (tmp_path / "index.faiss").read_bytes()
    (tmp_path / "index.faiss").write_bytes(damage(content))
    with pytest.raises(CorruptFileError, match="not a FAISS index"):
        VectorIndex.load(tmp_path / "index.faiss", IDS)
    with pytest.raises(CorruptFileError, match="not a FAISS index"):
        VectorIndex.load(tmp_path / "nothing.faiss", IDS)


def test_an_index_of_another_number_of_videos_is_refused(index: VectorIndex, tmp_path: Path) -> None:
    index.save(tmp_path / "index.faiss")
    with pytest.raises(CorruptFileError, match="2999 ids"):
        VectorIndex.load(tmp_path / "index.faiss", IDS[:-1])
