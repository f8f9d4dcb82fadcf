"""The index finds what a comparison with every vector finds, whatever its kind."""

from pathlib import Path

import numpy as np
import psutil
import pytest

from data.files import CorruptFileError
from recommender.index import IndexSettings, VectorIndex, recall

COUNT, DIM = 3_000, 16
APPROXIMATE = IndexSettings(exact_below=0)
KINDS = {
    "flat-float32": IndexSettings(),
    "flat-float16": IndexSettings(storage="float16"),
    "ivf-float32": IndexSettings(exact_below=0, storage="float32"),
    "ivf-float16": APPROXIMATE,
    "ivf-int8": IndexSettings(exact_below=0, storage="int8"),
}
#: How far a cosine may be from the true one.
ROUNDING = {"float32": 1e-5, "float16": 2e-3, "int8": 3e-2}


def clustered(count: int, seed: int, dim: int = DIM) -> np.ndarray:
    """Normalised vectors around 60 centres, as videos are around their subjects."""
    centres = np.random.default_rng(0).normal(size=(60, dim))
    rng = np.random.default_rng(seed)
    vectors = centres[rng.integers(0, len(centres), count)] + 0.4 * rng.normal(size=(count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


MATRIX, QUERIES = clustered(COUNT, 1), clustered(40, 2)
IDS = np.random.default_rng(3).permutation(COUNT * 2)[:COUNT]


@pytest.fixture(scope="module", params=KINDS)
def index(request: pytest.FixtureRequest) -> VectorIndex:
    built = VectorIndex.build(MATRIX, IDS, KINDS[request.param])
    assert (built.description, len(built)) == (f"{request.param}/{DIM}", COUNT)
    return built


def nearest(k: int, eligible: np.ndarray) -> np.ndarray:
    """The ids of the k nearest eligible rows of each query, by comparison with all."""
    scores = np.where(eligible, QUERIES @ MATRIX.T, -np.inf)
    return IDS[np.argsort(-scores, axis=1, kind="stable")[:, :k]]


def overlap(found: np.ndarray, exact: np.ndarray) -> float:
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
    true = (QUERIES[:, None] * MATRIX[rows]).sum(axis=2)
    np.testing.assert_allclose(cosines, true, atol=ROUNDING[index.storage])
    assert all(len(set(row)) == k for row in ids), "each once"
    exact = nearest(k, eligible)
    least = {"float32": 1.0 if index.kind == "flat" or share < 0.1 else 0.97, "float16": 0.97, "int8": 0.9}
    assert overlap(ids, exact) >= least[index.storage]


@pytest.mark.parametrize("share", [0.7, 0.4, 0.2, 0.05])
def test_what_is_eligible_is_found_where_it_lies_elsewhere(share: float) -> None:
    """Of subjects that nobody asks about: what an index that opens as many cells as ever would not find."""
    index = VectorIndex.build(MATRIX, IDS, IndexSettings(exact_below=0, recall=0.9))
    subject = (MATRIX @ MATRIX[:60].T).argmax(axis=1)
    asked_about = np.unique((QUERIES @ MATRIX[:60].T).argmax(axis=1))
    others = np.setdiff1d(np.arange(60), asked_about)
    eligible = np.isin(subject, others) & (np.random.default_rng(0).random(COUNT) < share)
    assert eligible.any() and overlap(index.search(QUERIES, 20, eligible)[0], nearest(20, eligible)) >= 0.9


def test_a_search_opens_as_few_cells_as_the_wanted_recall_needs() -> None:
    def built(wanted: float, asked: np.ndarray | None = None) -> VectorIndex:
        return VectorIndex.build(MATRIX, IDS, IndexSettings(exact_below=0, recall=wanted), asked)

    few, many = built(0.5), built(0.999)
    assert few.probes is not None and many.probes is not None and few.probes < many.probes
    assert recall(few, MATRIX, QUERIES, 100) < recall(many, MATRIX, QUERIES, 100)
    assert recall(many, MATRIX, QUERIES, 100) >= 0.99
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
    np.testing.assert_allclose(vectors, MATRIX[[7, 0]], atol=ROUNDING[index.storage])


def test_an_index_is_the_same_after_saving(index: VectorIndex, tmp_path: Path) -> None:
    index.save(tmp_path / "index.faiss")
    loaded = VectorIndex.load(tmp_path / "index.faiss", IDS)
    assert (loaded.description, loaded.probes) == (index.description, index.probes)
    for eligible in (None, some_eligible(0.3), some_eligible(0.02)):
        for before, after in zip(
            index.search(QUERIES, 10, eligible), loaded.search(QUERIES, 10, eligible), strict=True
        ):
            np.testing.assert_array_equal(before, after)
    loaded.save(tmp_path / "again.faiss")
    for suffix in (".faiss", ".lists"):
        first, again = (tmp_path / f"{name}{suffix}" for name in ("index", "again"))
        assert first.exists() == again.exists() and (not first.exists() or first.read_bytes() == again.read_bytes())


@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: content[:-100], lambda content: content[64:]])
def test_cells_that_are_not_those_of_the_index_are_refused(tmp_path: Path, damage) -> None:
    VectorIndex.build(MATRIX, IDS, APPROXIMATE).save(tmp_path / "index.faiss")
    lists = tmp_path / "index.lists"
    lists.write_bytes(damage(lists.read_bytes()))
    with pytest.raises(CorruptFileError, match=r"index\.lists"):
        VectorIndex.load(tmp_path / "index.faiss", IDS)
    lists.unlink()
    with pytest.raises(CorruptFileError, match=r"index\.lists"):
        VectorIndex.load(tmp_path / "index.faiss", IDS)


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


# ---- Memory and cells ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("memory_mb", "kept_as"), [(None, "float16"), (1.0, "float16"), (0.12, "int8"), (0.1, "int8"), (0.07, None)]
)
def test_an_index_fits_into_its_memory(memory_mb: float | None, kept_as: str | None) -> None:
    settings = IndexSettings(exact_below=0, memory_mb=memory_mb)
    if kept_as is None:
        with pytest.raises(ValueError, match=r"memory_mb: 3,000 vectors of 16 dimensions take 0 MB even as int8"):
            VectorIndex.build(MATRIX, IDS, settings)
        return
    assert VectorIndex.build(MATRIX, IDS, settings).storage == kept_as


def test_what_was_said_of_its_size_is_what_it_takes(index: VectorIndex, tmp_path: Path) -> None:
    """But for the cells, which are as good as nothing where there are many vectors."""
    index.save(tmp_path / "index.faiss")
    size = sum(path.stat().st_size for path in tmp_path.glob("index.*"))
    settings = KINDS[index.description.split("/")[0]]
    assert size == pytest.approx(settings.bytes_for(COUNT, DIM, index.storage), rel=0.35)


@pytest.mark.parametrize("stored", [False, True])
def test_the_cells_of_the_index_before_are_taken_over_while_they_fit(tmp_path: Path, stored: bool) -> None:
    before = VectorIndex.build(MATRIX, IDS, APPROXIMATE)
    if stored:
        before.save(tmp_path / "index.faiss")
        before = VectorIndex.load(tmp_path / "index.faiss", IDS)
    found = before.search(QUERIES, 10)[0]
    newer = clustered(COUNT, 7)

    def same_cells(index: VectorIndex) -> bool:
        """Whether the same vectors would lie in the same cells."""
        cells = [each._codes.quantizer.reconstruct_n(0, each._codes.nlist) for each in (before, index)]
        return cells[0].shape == cells[1].shape and bool((cells[0] == cells[1]).all())

    warm = VectorIndex.build(newer, IDS, APPROXIMATE, before=before)
    assert same_cells(warm) and recall(warm, newer, QUERIES, 100) >= 0.98
    np.testing.assert_array_equal(before.search(QUERIES, 10)[0], found, "it goes on as it was")
    assert not same_cells(VectorIndex.build(newer, IDS, APPROXIMATE))
    assert not same_cells(VectorIndex.build(newer[:1_500], IDS[:1_500], APPROXIMATE, before=before)), "for many fewer"
    exact = VectorIndex.build(MATRIX, IDS)
    assert recall(VectorIndex.build(newer, IDS, APPROXIMATE, before=exact), newer, QUERIES, 100) >= 0.98


@pytest.mark.parametrize("dim", [1, 5, 12, 1_280])
def test_any_number_of_dimensions_will_do(dim: int) -> None:
    vectors = clustered(600, 8, dim)
    index = VectorIndex.build(vectors, None, APPROXIMATE)
    assert index.dim == dim and recall(index, vectors, vectors[:50], 10) >= 0.95


@pytest.mark.parametrize("count", [0, 1, 5, 38, 39, 60])
def test_few_vectors_are_compared_one_by_one_whatever_is_set(count: int) -> None:
    index = VectorIndex.build(MATRIX[:count], None, APPROXIMATE)
    assert index.kind == ("flat" if count < 39 else "ivf")
    assert index.search(QUERIES, 3)[0].shape == (len(QUERIES), min(3, count))


@pytest.mark.parametrize(
    ("settings", "bytes_per_number"), [(IndexSettings(exact_below=100_000), 4), (IndexSettings(recall=0.5), 2.5)]
)
def test_processes_that_load_an_index_share_what_is_in_it(
    tmp_path: Path, settings: IndexSettings, bytes_per_number: float
) -> None:
    """They are pages of the file, not memory of each process."""
    matrix = np.random.default_rng(0).normal(size=(40_000, 128)).astype(np.float32)
    VectorIndex.build(matrix, None, settings).save(tmp_path / "index.faiss")
    loaded = VectorIndex.load(tmp_path / "index.faiss")
    loaded.search(matrix[:5], 10_000)
    mapped = [each for each in psutil.Process().memory_maps() if each.path.startswith(str(tmp_path / "index."))]
    assert sum(each.rss for each in mapped) >= 0.9 * bytes_per_number * matrix.size
    assert sum(each.private_dirty for each in mapped) == 0
