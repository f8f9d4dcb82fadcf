"""The vector index: which videos lie nearest to a vector. The only file that knows FAISS.

Inner product over L2-normalised vectors, so scores are cosines. An index never changes after it was built, so
any number of threads may search it while another one takes its place. The ids are ours: FAISS sees row numbers.
"""

from pathlib import Path

import faiss
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from data.files import CorruptFileError, replacing

#: Below this share of eligible rows, or below this many for each wanted one, an approximate index is not asked:
#: it would find too few of them. Their vectors are compared one by one.
EXACT_BELOW_SHARE = 0.1
EXACT_BELOW_ROWS_PER_WANTED = 20
#: How many queries an index that is being built is tried with, and how many neighbours of each it is to find.
TRIED, TRIED_K = 200, 100


class IndexSettings(BaseModel):
    """Exact search below a size, HNSW from there, IVF where HNSW takes too long to build and no less to ask."""

    model_config = ConfigDict(extra="forbid")

    exact_below: int = Field(default=50_000, ge=0, description="fewer vectors than this are searched exactly")
    ivf_from: int = Field(default=200_000, ge=0, description="as many or more get IVF instead of HNSW")
    hnsw_links: int = Field(default=32, ge=4, le=128, description="links per vector (M)")
    ef_construction: int = Field(default=200, ge=8, description="HNSW: candidates looked at while building")
    ef_search: int = Field(default=128, ge=8, description="HNSW: candidates looked at while searching")
    ivf_probes: int = Field(
        default=64, ge=1, description="IVF: most cells looked at while searching; as few as `ivf_recall` needs"
    )
    ivf_recall: float = Field(
        default=0.99, gt=0, le=1, description="IVF: share of a sample's exact neighbours that is to be found"
    )


def use_threads(number: int) -> None:
    """How many threads one search or build may take: one in a server, all cores in a batch job."""
    faiss.omp_set_num_threads(number)


class VectorIndex:
    """An immutable index over (N, D) float32 vectors; row r belongs to `ids[r]` (int64)."""

    def __init__(self, index: "faiss.Index", ids: np.ndarray) -> None:
        if index.ntotal != len(ids):
            raise CorruptFileError(f"the index holds {index.ntotal} vectors but there are {len(ids)} ids")
        self._index = index
        self.ids = np.ascontiguousarray(ids, np.int64)
        #: Whether row numbers and ids are the same.
        self.rows_are_ids = bool((self.ids == np.arange(len(self.ids))).all())
        # One place more than there are ids, for all that are beyond.
        self._row_of = np.full(int(self.ids.max(initial=-1)) + 2, -1, np.int64)
        self._row_of[self.ids] = np.arange(len(self.ids))

    @classmethod
    def build(
        cls,
        matrix: np.ndarray,
        ids: np.ndarray,
        settings: IndexSettings | None = None,
        asked: np.ndarray | None = None,
    ) -> "VectorIndex":
        """Builds the kind of index that fits the number of vectors.

        asked: (q, D) float32, of what it will be asked; without them it is tried with some of its own rows.
        """
        settings = settings or IndexSettings()
        matrix = np.ascontiguousarray(matrix, np.float32)
        count, dim = matrix.shape
        if count < settings.exact_below:
            index = faiss.IndexFlatIP(dim)
        elif count < settings.ivf_from:
            index = faiss.IndexHNSWFlat(dim, settings.hnsw_links, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction = settings.ef_construction
            index.hnsw.efSearch = settings.ef_search
        else:
            cells = int(4 * np.sqrt(count))
            index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, cells, faiss.METRIC_INNER_PRODUCT)
            index.train(matrix[np.random.default_rng(0).choice(count, min(count, 64 * cells), replace=False)])
        index.add(matrix)
        if isinstance(index, faiss.IndexIVF):
            index.make_direct_map()
            if asked is None:
                asked = matrix[np.random.default_rng(0).choice(count, min(count, TRIED), replace=False)]
            index.nprobe = _fewest_probes(index, matrix, asked, settings)
        return cls(index, ids)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def dim(self) -> int:
        return int(self._index.d)

    @property
    def kind(self) -> str:
        """flat, hnsw or ivf."""
        return {"IndexFlat": "flat", "IndexFlatIP": "flat", "IndexHNSWFlat": "hnsw"}.get(
            type(self._index).__name__, "ivf"
        )

    @property
    def probes(self) -> int | None:
        """How many cells of an IVF index are looked at for a few neighbours; None of other kinds."""
        return int(self._index.nprobe) if self.kind == "ivf" else None

    def vectors(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(which of `ids` are here as (n,) bool, their vectors as (number here, D) float32)."""
        rows = self._row_of[np.minimum(ids, len(self._row_of) - 1)]
        here = rows >= 0
        return here, self._reconstruct(rows[here])

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
        share = 1.0
        if eligible is not None and self.kind != "flat":
            few = max(EXACT_BELOW_SHARE * len(self), EXACT_BELOW_ROWS_PER_WANTED * k)
            left = np.count_nonzero(eligible)
            if left < few:
                return self._search_few(queries, k, np.flatnonzero(eligible))
            share = left / len(self)
        scores, rows = self._index.search(queries, k, params=self._parameters(k / share, eligible))
        found = rows >= 0
        return np.where(found, self.ids[rows], -1), np.where(found, scores, -np.inf).astype(np.float32)

    def _search_few(self, queries: np.ndarray, k: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scores = queries @ self._reconstruct(rows).T
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        missing = ((0, 0), (0, k - best.shape[1]))
        ids = np.pad(self.ids[rows[best]], missing, constant_values=-1)
        return ids, np.pad(np.take_along_axis(scores, best, axis=1), missing, constant_values=-np.inf)

    def _parameters(self, among: float, eligible: np.ndarray | None) -> "faiss.SearchParameters":
        """among: of how many neighbours, eligible or not, the wanted ones are likely to be."""
        chosen = {} if eligible is None else {"sel": faiss.IDSelectorBitmap(np.packbits(eligible, bitorder="little"))}
        if self.kind == "hnsw":
            return faiss.SearchParametersHNSW(efSearch=int(max(self._index.hnsw.efSearch, 2 * among)), **chosen)
        if self.kind == "ivf":
            # What it was tried with does for so many neighbours; more of them lie in more cells.
            return faiss.SearchParametersIVF(nprobe=int(self._index.nprobe * max(among / TRIED_K, 1.0)), **chosen)
        return faiss.SearchParameters(**chosen)

    def _reconstruct(self, rows: np.ndarray) -> np.ndarray:
        return self._index.reconstruct_batch(rows) if len(rows) else np.zeros((0, self.dim), np.float32)

    # ---- On disk -------------------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Writes the FAISS file; the ids are the caller's to keep."""
        with replacing(path) as file:
            file.write(faiss.serialize_index(self._index).tobytes())

    @classmethod
    def load_rows(cls, path: Path) -> "VectorIndex":
        """Reads an index whose ids are its row numbers. Raises CorruptFileError as `load` does."""
        try:
            index = faiss.read_index(str(path))
        except RuntimeError as error:
            raise CorruptFileError(f"{path} is not a FAISS index: {error}") from error
        return cls(index, np.arange(index.ntotal))

    @classmethod
    def load(cls, path: Path, ids: np.ndarray) -> "VectorIndex":
        """Reads an index. Raises CorruptFileError when the file is no index or has not as many rows as `ids`."""
        try:
            return cls(faiss.read_index(str(path)), ids)
        except RuntimeError as error:
            raise CorruptFileError(f"{path} is not a FAISS index: {error}") from error


def _fewest_probes(index: "faiss.IndexIVF", matrix: np.ndarray, asked: np.ndarray, settings: IndexSettings) -> int:
    """How many cells must be looked at so that enough of the exact neighbours (cosines as good) are found."""
    k = min(TRIED_K, len(matrix))
    exact, _ = faiss.knn(asked, matrix, k, metric=faiss.METRIC_INNER_PRODUCT)

    def enough(probes: int) -> bool:
        scores, _ = index.search(asked, k, params=faiss.SearchParametersIVF(nprobe=probes))
        return bool(np.mean(scores >= exact[:, -1:] - 1e-5) >= settings.ivf_recall)

    too_few, probes = 0, 1
    while probes < settings.ivf_probes and not enough(probes):
        too_few, probes = probes, 2 * probes
    probes = min(probes, settings.ivf_probes)
    while probes - too_few > max(1, probes // 16):
        between = (too_few + probes) // 2
        too_few, probes = (too_few, between) if enough(between) else (between, probes)
    return probes
