"""The need of a node, and the known facts about a graph's tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import onnx

Extents = tuple[int, ...]
Inputs = Sequence[Extents | None]
"""The extents of a node's inputs in turn, None where they are not known."""


@dataclass(frozen=True)
class Need:
    """``have`` numbers come to ``node``, which wants ``want``; ``is_met`` says whether they fit.

    ``first`` is what its first extent has to be, where that is fixed. ``node`` is empty where only
    shape inference says that something does not fit, which does not know every op, and ``known`` is
    False where shape inference has not seen it.
    """

    node: str
    reason: str
    have: int = 0
    want: int = 0
    is_met: bool = False
    first: int = 0
    known: bool = True


@dataclass(frozen=True)
class Tensors:
    """Known facts about tensors by name: extents, those of constants, the numbers of small ones.

    Small constants are lists of whole numbers, in the order in which they are stored.
    """

    extents: Mapping[str, Extents | None]
    weights: Mapping[str, Extents]
    integers: Mapping[str, list[int]]


def apart(
    node: onnx.NodeProto, text: str, pairs: Sequence[tuple[int, int]], batch: bool = True
) -> Need:
    """The need of a node at which of some extents, each beside what it should be, a few differ.

    ``batch`` says whether the first of these may be the number of images.
    """
    other = [(a, b) for a, b in pairs if a != b]
    have, want = (prod(extents) for extents in zip(*other, strict=True)) if other else (1, 1)
    return Need(title(node), text, have, want, not other, other[0][1] if other and batch else 0)


def title(node: onnx.NodeProto) -> str:
    """A node as a sentence names it."""
    return f"{node.op_type} '{node.name or node.output[0]}'"


def times(shape: Sequence[int]) -> str:
    """A shape as it is written in a sentence."""
    return "×".join(map(str, shape)) or "a number"
