"""The vector index: which videos lie nearest to a vector. The only file that knows FAISS.

Inner product over L2-normalised vectors, so scores are cosines. An index never changes after it was built, so
any number of threads may search it while another one takes its place. The ids are ours: FAISS sees row numbers.

Few vectors are compared one by one. Of many, codes of four bits per dimension tell which are worth comparing: they lie
in cells of like vectors, of which a search opens the nearest, and the best by their codes are compared by their vectors
(IVF-PQ with re-ranking: Jégou, Douze and Schmid, PAMI 2011; codes of 4 bits laid out for SIMD: André, Kermarrec and Le
Scouarnec, VLDB 2015).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Literal

import faiss
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from data.files import CorruptFileError, replacing

Storage = Literal["float32", "float16", "int8"]
#: How vectors may be kept, the most precise first: bytes per dimension.
STORAGES: dict[Storage, int] = {"float32": 4, "float16": 2, "int8": 1}
_QUANTIZERS = {"float16": faiss.ScalarQuantizer.QT_fp16, "int8": faiss.ScalarQuantizer.QT_8bit}
#: A code has so many bits for each dimension, and its row number beside it.
CODE_BITS, ROW_NUMBER_BYTES = 4, 8
#: Beside an index with cells: what lies in them.
LISTS = ".lists"
#: How many queries an index that is being built is tried with, and how many neighbours of each it is to find.
TRIED, TRIED_K = 200, 100
#: For each wanted neighbour so many of the best by their codes are compared: as few as are enough.
COMPARED = (2, 3, 4, 6, 8, 12, 16)
#: Cells for each of the square root of the number of vectors, and how many vectors each is trained on.
CELLS_PER_ROOT, TRAINED_ON_PER_CELL, FEWEST_TRAINED_ON_PER_CELL = 2, 64, 39
#: There may be so many times fewer or more cells than would be trained now before they are.
CELLS_KEPT_WITHIN = 1.25
#: Time of looking whether a row is eligible, and of comparing a code, where comparing a vector takes 1.
LOOK, COMPARE_CODE = 0.01, 0.03
#: From this share on what is eligible lies as all do; below it so many times as many rows are looked at.
NEARLY_ALL, SCATTERED = 0.95, 8.0
#: How many are compared by their vectors however few are wanted.
COMPARED_AT_LEAST = 200
#: How many rows tell where those that are eligible lie.
ROWS_LOOKED_AT = 16_384


class IndexSettings(BaseModel):
    """Exact search below a size; from there codes in cells and a second look at the best."""

    model_config = ConfigDict(extra="forbid")

    exact_below: int = Field(default=20_000, ge=0, description="fewer vectors than this are searched exactly")
    storage: Storage | None = Field(
        default=None, description="how vectors are kept; none: as float32 where they are searched exactly, else float16"
    )
    memory_mb: float | None = Field(
        default=None, gt=0, description="most that an index may take; a larger one keeps float16 or int8 instead"
    )
    recall: float = Field(default=0.99, gt=0, le=1, description="share of a sample's exact neighbours that is found")

    def kind_for(self, count: int) -> Literal["flat", "ivf"]:
        return "flat" if count < max(self.exact_below, FEWEST_TRAINED_ON_PER_CELL) else "ivf"

    def storage_for(self, count: int, dim: int) -> Storage:
        """The most precise way to keep `count` vectors that is wanted and that fits into the memory.

        Raises ValueError where none fits.
        """
        wanted = self.storage or ("float32" if self.kind_for(count) == "flat" else "float16")
        kinds = list(STORAGES)
        for storage in kinds[kinds.index(wanted) :]:
            if self.memory_mb is None or self.bytes_for(count, dim, storage) <= self.memory_mb * 1e6:
                return storage
        least = self.bytes_for(count, dim, "int8") / 1e6
        raise ValueError(
            f"recommender.index.memory_mb: {count:,} vectors of {dim} dimensions take {least:,.0f} MB even as int8;"
            f" {self.memory_mb:,.0f} MB are allowed"
        )

    def bytes_for(self, count: int, dim: int, storage: Storage) -> int:
        code = 0 if self.kind_for(count) == "flat" else -(-dim * CODE_BITS // 8) + ROW_NUMBER_BYTES
        return count * (dim * STORAGES[storage] + code)


def use_threads(number: int) -> None:
    """How many threads one search or build may take: one in a server, all cores in a batch job."""
    faiss.omp_set_num_threads(number)


def exact_search(queries: np.ndarray, matrix: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The `k` nearest rows of (N, D) of each of (q, D) queries: scores (q, k) float32 and rows (q, k) int64.

    On the GPU where FAISS sees one.
    """
    if faiss.get_num_gpus():
        resources = faiss.StandardGpuResources()
        return faiss.knn_gpu(resources, queries, matrix, k, metric=faiss.METRIC_INNER_PRODUCT)
    return faiss.knn(queries, matrix, k, metric=faiss.METRIC_INNER_PRODUCT)


class VectorIndex:
    """An immutable index over (N, D) float32 vectors; row r belongs to `ids[r]` (int64)."""

    def __init__(self, index: "faiss.Index", ids: np.ndarray | None = None) -> None:
        """ids: without them they are the row numbers."""
        if ids is not None and index.ntotal != len(ids):
            raise CorruptFileError(f"the index holds {index.ntotal} vectors but there are {len(ids)} ids")
        self._index = index
        self._codes: Any = _codes_of(index) if isinstance(index, faiss.IndexRefine) else None
        self._vectors = index if self._codes is None else faiss.downcast_index(index.refine_index)
        self._cells = None if self._codes is None else _Cells(index, self._codes)
        self.ids = np.arange(index.ntotal) if ids is None else np.ascontiguousarray(ids, np.int64)
        #: Whether row numbers and ids are the same.
        self.rows_are_ids = bool((self.ids == np.arange(len(self.ids))).all())

    # ---- Building ------------------------------------------------------------------------------------------

    @classmethod
    def build(
        cls,
        matrix: np.ndarray,
        ids: np.ndarray | None = None,
        settings: IndexSettings | None = None,
        asked: np.ndarray | None = None,
        before: "VectorIndex | None" = None,
    ) -> "VectorIndex":
        """Builds the kind of index that fits the number of vectors and the memory.

        asked: (q, D) float32, of what it will be asked; without them it is tried with some of its own rows. before: an
        index of much the same vectors, whose cells are taken over. Raises ValueError where the memory is too small.
        """
        settings = settings or IndexSettings()
        matrix = np.ascontiguousarray(matrix, np.float32)
        count, dim = matrix.shape
        vectors = _store_of(matrix, settings.storage_for(count, dim))
        if settings.kind_for(count) == "flat":
            return cls(vectors, ids)
        base = before._emptied(count, dim) if before is not None else None
        if base is None:
            base = _cells_of(matrix)
        base.add(matrix)
        index = faiss.IndexRefine(base, vectors)
        built = cls(index, ids)
        if asked is None:
            asked = matrix[np.random.default_rng(0).choice(count, min(count, TRIED), replace=False)]
        _tune(built, matrix, np.ascontiguousarray(asked, np.float32), settings)
        return built

    def _emptied(self, count: int, dim: int) -> "faiss.Index | None":
        """The cells of this index without what lies in them; None where they are not for so many vectors."""
        if self._cells is None or self.dim != dim:
            return None
        if not 1 / CELLS_KEPT_WITHIN <= _cells_for(count) / self._cells.count <= CELLS_KEPT_WITHIN:
            return None
        with _without_lists(self._codes):
            base = faiss.clone_index(self._index.base_index)
        base.reset()
        return base

    # ---- Reading -------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def dim(self) -> int:
        return int(self._vectors.d)

    @property
    def kind(self) -> Literal["flat", "ivf"]:
        return "flat" if self._codes is None else "ivf"

    @property
    def storage(self) -> Storage:
        """How the vectors are kept."""
        if isinstance(self._vectors, faiss.IndexFlat):
            return "float32"
        return "float16" if self._vectors.sq.qtype == _QUANTIZERS["float16"] else "int8"

    @property
    def description(self) -> str:
        """In a few characters: ivf-float16/256."""
        return f"{self.kind}-{self.storage}/{self.dim}" if len(self) else "none"

    @property
    def probes(self) -> int | None:
        """How many cells are opened for a few neighbours; None where there are none."""
        return None if self._codes is None else int(self._codes.nprobe)

    @cached_property
    def _row_of(self) -> np.ndarray | None:
        """(most of the ids + 2,) int32: the rows of ids, -1 for none; None where they are the same."""
        if self.rows_are_ids:
            return None
        # One place more than there are ids, for all that are beyond.
        rows = np.full(int(self.ids.max(initial=-1)) + 2, -1, np.int32)
        rows[self.ids] = np.arange(len(self.ids))
        return rows

    def vectors(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(which of `ids` are here as (n,) bool, their vectors as (number here, D) float32)."""
        if self._row_of is None:
            here = (ids >= 0) & (ids < len(self))
            return here, self._reconstruct(ids[here])
        rows = self._row_of[np.minimum(ids, len(self._row_of) - 1)]
        here = rows >= 0
        return here, self._reconstruct(rows[here])

    def by_row(self, eligible: np.ndarray) -> np.ndarray:
        """Which rows may be found, (N,) bool as `search` takes it, from which ids may, (more than any id,) bool."""
        return eligible[: len(self)] if self.rows_are_ids else eligible[self.ids]

    def _reconstruct(self, rows: np.ndarray) -> np.ndarray:
        return self._vectors.reconstruct_batch(rows) if len(rows) else np.zeros((0, self.dim), np.float32)

    # ---- Searching -----------------------------------------------------------------------------------------

    def search(self, queries: np.ndarray, k: int, eligible: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The `k` nearest of each query.

        queries: (q, D) float32. eligible: (N,) bool by row, only these may be found; None: all.
        Returns (ids (q, k) int64, cosines (q, k) float32), best first; where fewer are found, id -1 at -inf; `k` is
        no more than the index holds.
        """
        k = min(k, len(self))
        queries = np.ascontiguousarray(queries, np.float32)
        if k == 0 or len(queries) == 0:
            return np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), -np.inf, np.float32)
        if eligible is not None and eligible.all():
            eligible = None
        only = {} if eligible is None else {"sel": faiss.IDSelectorBitmap(np.packbits(eligible, bitorder="little"))}
        probes = self._probes_for(queries, k, eligible)
        if probes is None:
            scores, rows = self._vectors.search(queries, k, params=faiss.SearchParameters(**only))
        else:
            opened = faiss.SearchParametersIVF(nprobe=probes, **only)
            turned = faiss.SearchParametersPreTransform(index_params=opened, **only)
            compared = max(self._index.k_factor, COMPARED_AT_LEAST / k)
            chosen = faiss.IndexRefineSearchParameters(k_factor=compared, base_index_params=turned, **only)
            scores, rows = self._index.search(queries, k, params=chosen)
        found = rows >= 0
        return np.where(found, self.ids[rows], -1), np.where(found, scores, -np.inf).astype(np.float32)

    def _probes_for(self, queries: np.ndarray, k: int, eligible: np.ndarray | None) -> int | None:
        """How many cells to open; None where comparing all that are eligible takes no longer."""
        if self._cells is None:
            return None
        # What it was tried with is enough for so many neighbours; more of them lie in more cells.
        usual = min(self._cells.count, int(np.ceil(self._codes.nprobe * max(k / TRIED_K, 1.0))))
        if eligible is None:
            return usual
        left = np.count_nonzero(eligible)
        if left == 0:
            return None
        one_by_one = left + LOOK * len(self)
        probes = self._cells.holding_as_many(queries, eligible, usual, left / len(self))
        through_cells = self._cells.count + COMPARE_CODE * probes * len(self) / self._cells.count
        return probes if through_cells < one_by_one else None

    # ---- On disk -------------------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Writes the FAISS file, and beside it what lies in cells; the ids are the caller's to keep. Raises OSError
        where it cannot."""
        if self._codes is not None:
            with replacing(path.with_suffix(LISTS)) as file:
                _write_lists(self._codes, file)
        with replacing(path) as file, _without_lists(self._codes):
            try:
                faiss.write_index(self._index, file.name)
            except RuntimeError as error:
                raise OSError(f"{path} cannot be written: {error}") from error

    @classmethod
    def load(cls, path: Path, ids: np.ndarray | None = None) -> "VectorIndex":
        """Maps an index into memory: processes that load the same files share all but centres of cells.

        ids: without them they are its row numbers. Raises CorruptFileError when the file is no index or has not as many
        rows as `ids`.
        """
        try:
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
            if isinstance(index, faiss.IndexRefine):
                _map_lists(_codes_of(index), path.with_suffix(LISTS))
            return cls(index, ids)
        except RuntimeError as error:
            raise CorruptFileError(f"{path} is not a FAISS index: {error}") from error


class _Cells:
    """Where the rows of an index lie: how many cells must be opened to meet enough of those that are eligible.

    What is eligible often lies together and away from what is asked for: another genre, another country.
    """

    def __init__(self, index: "faiss.IndexRefine", codes: "faiss.IndexIVF") -> None:
        self.count = int(codes.nlist)
        centres = codes.quantizer.reconstruct_n(0, self.count)
        self._centres = faiss.downcast_index(index.base_index).chain.at(0).reverse_transform(centres)
        cell_of = np.zeros(index.ntotal, np.int32)
        for cell in range(self.count):
            size = codes.invlists.list_size(cell)
            if size:
                cell_of[faiss.rev_swig_ptr(codes.invlists.get_ids(cell), size)] = cell
        self._rows = np.arange(0, index.ntotal, max(1, index.ntotal // ROWS_LOOKED_AT))
        self._cell_of = cell_of[self._rows]

    def holding_as_many(self, queries: np.ndarray, eligible: np.ndarray, usual: int, share: float) -> int:
        """How many cells next to each query must be opened for as good a search as that of `usual` cells among all.

        share: of rows that are eligible. Nearly all: as many cells as hold so many of them. Fewer may lie anywhere, and
        the nearest of what lies far away are scattered over many cells.
        """
        if share >= NEARLY_ALL:
            return min(self.count, int(np.ceil(usual / share)))
        eligible_in = np.bincount(self._cell_of[eligible[self._rows]], minlength=self.count)
        order = np.argsort(-(queries @ self._centres.T), axis=1)
        met = np.cumsum(eligible_in[order], axis=1)
        wanted = SCATTERED * usual * len(self._rows) / self.count
        return min(self.count, int((met < wanted).sum(axis=1).max()) + 1)


def recall(index: VectorIndex, matrix: np.ndarray, queries: np.ndarray, k: int) -> float:
    """The share of what the index finds that is as near as the exact `k` nearest; 1 for an exact index.

    matrix: (N, D) float32, the vectors that the index was built from, by its rows. Equally near vectors stand for each
    other: a video that was uploaded often has many.
    """
    k = min(k, len(index))
    if k == 0:
        return 1.0
    return _share_found(index, matrix, queries, exact_search(queries, matrix, k)[0])


def _share_found(index: VectorIndex, matrix: np.ndarray, queries: np.ndarray, exact: np.ndarray) -> float:
    """exact: (q, k) the scores of the nearest."""
    ids, _ = index.search(queries, exact.shape[1])
    rows = ids if index._row_of is None else np.where(ids >= 0, index._row_of[ids], -1)
    scores = np.einsum("qkd,qd->qk", matrix[rows], queries)
    return float(np.mean((rows >= 0) & (scores >= exact[:, -1:] - 1e-5)))


# ---- What lies in cells, on disk -------------------------------------------------------------------------------
# FAISS reads codes that are laid out for SIMD into the memory of each process. They are the same bytes, cell by cell,
# in a file that is mapped: the number of rows in each cell, then of each its blocks of codes and its row numbers.


def _codes_of(index: "faiss.IndexRefine") -> Any:
    return faiss.downcast_index(faiss.extract_index_ivf(index.base_index))


def _rows_in_blocks(codes: Any, sizes: np.ndarray) -> np.ndarray:
    """How many rows there is room for in blocks, (cells,) int64, from how many there are."""
    return -(-sizes // codes.bbs) * codes.bbs


def _write_lists(codes: Any, file: BinaryIO) -> None:
    lists, cells = codes.invlists, int(codes.nlist)
    sizes = np.array([lists.list_size(cell) for cell in range(cells)], np.int64)
    file.write(sizes.tobytes().ljust(_header_bytes(cells), b"\0"))
    for cell, (size, rows) in enumerate(zip(sizes.tolist(), _rows_in_blocks(codes, sizes).tolist(), strict=True)):
        if size:
            file.write(faiss.rev_swig_ptr(lists.get_codes(cell), rows * int(codes.code_size)).tobytes())
            file.write(faiss.rev_swig_ptr(lists.get_ids(cell), size).tobytes().ljust(rows * ROW_NUMBER_BYTES, b"\0"))


def _map_lists(codes: Any, path: Path) -> None:
    """Raises CorruptFileError where the file is not of these cells: what is mapped must be there to its end."""
    cells, begin = int(codes.nlist), _header_bytes(int(codes.nlist))
    there = path.stat().st_size if path.exists() else 0
    sizes = np.fromfile(path, np.int64, cells) if there >= begin else np.zeros(0, np.int64)
    rows = _rows_in_blocks(codes, sizes)
    ends = begin + np.cumsum(rows) * (int(codes.code_size) + ROW_NUMBER_BYTES)
    if len(sizes) < cells or (sizes < 0).any() or sizes.sum() != codes.ntotal or there != ends[-1]:
        raise CorruptFileError(f"{path} does not hold what lies in the cells of its index")
    lists = faiss.OnDiskInvertedLists()
    lists.nlist, lists.code_size, lists.filename, lists.totsize = cells, codes.code_size, str(path), there
    # Threads that read ahead are for what does not fit into memory.
    lists.read_only, lists.prefetch_nthread = True, 0
    lists.lists.clear()
    for size, capacity, offset in zip(sizes.tolist(), rows.tolist(), [begin, *ends[:-1].tolist()], strict=True):
        one = faiss.OnDiskOneList()
        one.size, one.capacity, one.offset = size, capacity, offset
        lists.lists.push_back(one)
    lists.do_mmap()
    codes.replace_invlists(lists, True)
    lists.this.disown()


def _header_bytes(cells: int) -> int:
    """Rounded up to whole lines of the processor's cache."""
    return -(-8 * cells // 64) * 64


@contextmanager
def _without_lists(codes: Any) -> Iterator[None]:
    """While nothing lies in the cells."""
    if codes is None:
        yield
        return
    lists, owned = codes.invlists, codes.own_invlists
    packer = codes.get_CodePacker()
    empty = faiss.BlockInvertedLists(codes.nlist, packer)
    packer.this.disown()
    codes.own_invlists = False
    codes.replace_invlists(empty, False)
    try:
        yield
    finally:
        codes.replace_invlists(lists, owned)


# ---- The parts of an index --------------------------------------------------------------------------------------


def _store_of(matrix: np.ndarray, storage: Storage) -> "faiss.Index":
    dim = matrix.shape[1]
    if storage == "float32":
        store = faiss.IndexFlatIP(dim)
    else:
        store = faiss.IndexScalarQuantizer(dim, _QUANTIZERS[storage], faiss.METRIC_INNER_PRODUCT)
        store.train(_sample(matrix, 100_000))
    store.add(matrix)
    return store


def _cells_of(matrix: np.ndarray) -> "faiss.Index":
    """Trained cells for codes, with nothing in them yet."""
    count, dim = matrix.shape
    cells = _cells_for(count)
    # Codes say most where no dimension says more than others: vectors are turned at random.
    turn = faiss.RandomRotationMatrix(dim, dim)
    turn.init(0)
    quantizer = faiss.IndexFlatIP(dim)
    codes = faiss.IndexIVFPQFastScan(quantizer, dim, cells, dim, CODE_BITS, faiss.METRIC_INNER_PRODUCT)
    codes.by_residual = True
    if faiss.get_num_gpus():
        codes.clustering_index = faiss.index_cpu_to_all_gpus(faiss.IndexFlatIP(dim))
    base = faiss.IndexPreTransform(turn, codes)
    base.train(_sample(matrix, TRAINED_ON_PER_CELL * cells))
    codes.clustering_index = None
    return base


def _cells_for(count: int) -> int:
    return max(1, min(int(CELLS_PER_ROOT * np.sqrt(count)), count // FEWEST_TRAINED_ON_PER_CELL))


def _sample(matrix: np.ndarray, most: int) -> np.ndarray:
    count = len(matrix)
    return matrix if count <= most else matrix[np.sort(np.random.default_rng(0).choice(count, most, replace=False))]


def _tune(built: VectorIndex, matrix: np.ndarray, asked: np.ndarray, settings: IndexSettings) -> None:
    """Makes a new index open as few cells and compare as few vectors as the wanted recall needs."""
    exact, _ = exact_search(asked, matrix, min(TRIED_K, len(matrix)))
    codes, index = built._codes, built._index

    def enough(probes: int, compared: float, wanted: float) -> bool:
        codes.nprobe, index.k_factor = probes, compared
        return _share_found(built, matrix, asked, exact) >= wanted

    most = int(codes.nlist)
    reachable = 1.0
    if built.storage == "int8":
        # What is kept so roughly finds only so much, however many it compares.
        enough(most, COMPARED[-1], 0.0)
        reachable = _share_found(built, matrix, asked, exact)
    # Of that little may be lost.
    wanted = settings.recall if reachable == 1 else reachable * (3 + settings.recall) / 4
    # Half of what may be missed may lie in cells that are not opened, the other half behind codes that mislead.
    in_cells = (reachable + wanted) / 2
    too_few, probes = 0, 1
    while probes < most and not enough(probes, COMPARED[-1], in_cells):
        too_few, probes = probes, 2 * probes
    probes = min(probes, most)
    while probes - too_few > max(1, probes // 16):
        between = (too_few + probes) // 2
        too_few, probes = (too_few, between) if enough(between, COMPARED[-1], in_cells) else (between, probes)
    compared = next((each for each in COMPARED if enough(probes, each, wanted)), COMPARED[-1])
    codes.nprobe, index.k_factor = probes, compared
