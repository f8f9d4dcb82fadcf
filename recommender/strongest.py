"""Products of sparse matrices of which every row keeps its largest entries only: never held whole, on all cores.

Knows nothing of what the matrices stand for.
"""

import os

import scipy.sparse as sp
from sparse_dot_topn import sp_matmul_topn


def strongest_of_product(left: sp.csr_matrix, right: sp.csr_matrix, keep: int) -> sp.csr_matrix:
    """left (n, m) @ right (m, k), of every row the `keep` largest entries above 0; within rows in no order."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return sp_matmul_topn(sp.csr_matrix(left), sp.csr_matrix(right), keep, threshold=0.0, n_threads=cores)
