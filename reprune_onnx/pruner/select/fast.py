"""When numba is used, and how: what it compiles has a plain twin each, with the same result."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from collections.abc import Callable
from functools import cache
from typing import TypeVar

_Function = TypeVar("_Function", bound=Callable[..., object])
_LARGE = 2**21  # kernel pairs in a layer; fewer are clustered before numba is imported


def worth_compiling(pairs: int = 0) -> bool:
    """Whether numba is worth its import for so many pairs, or imported already, and can be had."""
    return (pairs >= _LARGE or "numba" in sys.modules) and _has_numba()


def compiled(function: _Function) -> _Function:
    """Compile a function that holds no lock while it runs.

    The machine code is cached beside its file, or in the user's cache folder where that cannot be
    written to; where neither can, it is compiled anew in every process.
    """
    import numba

    try:
        machine: _Function = numba.njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:  # no folder to cache in
        machine = numba.njit(nogil=True, error_model="numpy")(function)
    return machine


@cache
def _has_numba() -> bool:
    if importlib.util.find_spec("numba") is not None:
        try:
            import numba  # noqa: F401 - a numba that does not fit the installed numpy says so here

            return True
        except ImportError:
            pass
    warnings.warn(
        "numba cannot be imported: large layers are clustered by scipy, which takes longer",
        RuntimeWarning,
        stacklevel=2,
    )
    return False
