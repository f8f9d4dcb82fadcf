"""Loops as machine code, for what NumPy goes through a few hundred numbers many times for.

A list is made of some hundred steps over so few numbers that each step takes its microseconds whatever it does. What is
marked here is compiled for the types that it names when it is imported, never in a request, and kept for the next
process (Lam, Pitrou & Seibert: Numba: a LLVM-based Python JIT Compiler, 2015). Indices are not checked in there, and
constants are what they were when it was compiled. Knows nothing of what is worked out.
"""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba import types

Loop = TypeVar("Loop", bound=Callable[..., Any])

#: A whole number and a number.
WHOLE, NUMBER = types.int64, types.float64


def reads(kind: str, dimensions: int = 1) -> types.Array:
    """The type of a C-contiguous array that is not written to, of a NumPy dtype of this name."""
    return types.Array(getattr(types, kind), dimensions, "C", readonly=True)


def writes(kind: str, dimensions: int = 1) -> types.Array:
    """The same of one that results are written to."""
    return types.Array(getattr(types, kind), dimensions, "C")


def compiled(*arguments: types.Type, sums_in_any_order: bool = False) -> Callable[[Loop], Loop]:
    """Compiles a function of arguments of these types. As NumPy has it, a division by 0 gives inf or NaN.

    sums_in_any_order: as is quickest, several terms at a time, rather than one after the other.
    """
    options: dict[str, Any] = {
        "error_model": "numpy",
        "fastmath": {"reassoc", "contract"} if sums_in_any_order else False,
    }

    def made(loop: Loop) -> Loop:
        if _FOLDER is not None:
            try:
                return cast(Loop, numba.njit(arguments, cache=True, **options)(loop))
            except Exception:
                # The disk is full, or what lies there is damaged: the next process begins anew.
                shutil.rmtree(_FOLDER, ignore_errors=True)
        return cast(Loop, numba.njit(arguments, **options)(loop))

    return made


def _folder() -> Path | None:
    """Where machine code of just these sources is kept; None where nothing can be written to.

    In a folder of its own it is not taken for that of other sources: Numba itself looks at one file alone, and at the
    time when that was changed.
    """
    sources = Path(__file__).parent
    digest = hashlib.sha256(numba.__version__.encode())
    # Constants come from `data`.
    for path in sorted([*sources.rglob("*.py"), *(sources.parent / "data").glob("*.py")]):
        digest.update(path.read_bytes())
    wished = os.environ.get("NUMBA_CACHE_DIR")
    usual = (sources / "__pycache__", Path(os.path.expanduser("~/.cache/watchnext")))  # noqa: PTH111 - there may be none
    for place in (Path(wished),) if wished else usual:
        folder = place / f"compiled-{digest.hexdigest()[:16]}"
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                for other in place.glob("compiled-*"):
                    if other != folder:
                        shutil.rmtree(other, ignore_errors=True)
                return folder
    return None


_FOLDER = _folder()
if _FOLDER is not None:
    numba.config.CACHE_DIR = str(_FOLDER)  # type: ignore[attr-defined]
