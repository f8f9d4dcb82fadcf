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


class IndexSettings(BaseModel):
    """Exact search below a size, HNSW from there, IVF where HNSW's links would take too much memory."""

    model_config = ConfigDict(extra="forbid")

    exact_below: int = Field(default=50_000, ge=0, description="fewer vectors than this are searched exactly")
    ivf_from: int = Field(default=2_000_000, ge=0, description="as many or more get IVF instead of HNSW")
    hnsw_links: int = Field(default=32, ge=4, le=128, description="links per vector (M)")
    ef_construction: int = Field(default=200, ge=8, description="HNSW: candidates looked at while building")
    ef_search: int = Field(default=128, ge=8, description="HNSW: candidates looked at while searching")
    ivf_probes: int = Field(default=64, ge=1, description="IVF: cells looked at while searching")


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
    def build(cls, matrix: np.ndarray, ids: np.ndarray, settings: IndexSettings | None = None) -> "VectorIndex":
        """Builds the kind of index that fits the number of vectors."""
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
            index.nprobe = settings.ivf_probes
        index.add(matrix)
        if isinstance(index, faiss.IndexIVF):
            index.make_direct_map()
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
        if eligible is not None and self.kind != "flat":
            few = max(EXACT_BELOW_SHARE * len(self), EXACT_BELOW_ROWS_PER_WANTED * k)
            if np.count_nonzero(eligible) < few:
                return self._search_few(queries, k, np.flatnonzero(eligible))
        scores, rows = self._index.search(queries, k, params=self._parameters(k, eligible))
        found = rows >= 0
        return np.where(found, self.ids[rows], -1), np.where(found, scores, -np.inf).astype(np.float32)

    def _search_few(self, queries: np.ndarray, k: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scores = queries @ self._reconstruct(rows).T
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        missing = ((0, 0), (0, k - best.shape[1]))
        ids = np.pad(self.ids[rows[best]], missing, constant_values=-1)
        return ids, np.pad(np.take_along_axis(scores, best, axis=1), missing, constant_values=-np.inf)

    def _parameters(self, k: int, eligible: np.ndarray | None) -> "faiss.SearchParameters":
        chosen = {} if eligible is None else {"sel": faiss.IDSelectorBitmap(np.packbits(eligible, bitorder="little"))}
        if self.kind == "hnsw":
            # Rows that are not eligible take places of the search list, so that it must be longer.
            share = 1.0 if eligible is None else eligible.mean()
            return faiss.SearchParametersHNSW(efSearch=int(max(self._index.hnsw.efSearch, 2 * k / share)), **chosen)
        if self.kind == "ivf":
            return faiss.SearchParametersIVF(nprobe=self._index.nprobe, **chosen)
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
