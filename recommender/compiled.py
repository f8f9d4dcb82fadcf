"""Loops as machine code, for what NumPy goes through a few hundred numbers many times for.

A list is made of some hundred steps over so few numbers that each step takes its microseconds whatever it does. What is
marked here is compiled for the types that it names when it is imported, never in a request, and kept beside the source
for the next process (Lam, Pitrou & Seibert: Numba: a LLVM-based Python JIT Compiler, 2015). Indices are not checked in
there: who calls sees to them. Knows nothing of what is worked out.
"""

from collections.abc import Callable
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


def compiled(*arguments: types.Type) -> Callable[[Loop], Loop]:
    """Compiles a function of arguments of these types."""

    def made(loop: Loop) -> Loop:
        # As NumPy has it, a division by 0 gives inf or NaN.
        try:
            return cast(Loop, numba.njit(arguments, cache=True, error_model="numpy")(loop))
        except RuntimeError:
            # There is no folder to keep it in, such as in a container that nothing may be written to.
            return cast(Loop, numba.njit(arguments, error_model="numpy")(loop))

    return made
