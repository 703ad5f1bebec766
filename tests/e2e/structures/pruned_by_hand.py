"""A structure, and what a person makes of it when some of its channels go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Case:
    """``keep`` is the selection: the rows of some layers that stay. ``cut`` makes the weights of
    ``expected`` that differ from the weights of ``text``.
    """

    name: str
    text: str
    keep: dict[str, list[int]]
    expected: str
    cut: Callable[[Arrays], Arrays]
