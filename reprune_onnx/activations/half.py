"""The tensors that are held in float16: large ones, whose values lie well within its range.

Half the memory, and half the bytes to copy. ONNX Runtime converts them as it makes and reads them.
A value is off by 2⁻¹² of itself at most, which is far below what a cut does to it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

_LARGE = 64 << 20  # bytes of a tensor, of all images together, from which on it is held so
_LEAST, _MOST = 2.0**-7, 2.0**10  # of the largest value; float16 goes from 2⁻²⁴ to 2¹⁶
_INFINITE = 0x7C00  # the bits of the least float16 that is not finite, without the sign


def halved(arrays: Mapping[str, NDArray[Any]], batches: int) -> set[str]:
    """The tensors to hold in float16, given the first of so many ``batches`` of each."""
    return {
        name
        for name, array in arrays.items()
        if array.dtype == np.float32
        and array.nbytes * batches >= _LARGE
        and _LEAST <= np.abs(array).max() < _MOST  # not so where a value is not finite
    }


def half(name: str) -> str:
    """The name of a tensor's copy in float16."""
    return f"{name} in float16"


def is_finite(array: NDArray[np.float16]) -> bool:
    """Whether all values are; numpy's own test of float16 takes ten times as long.

    >>> is_finite(np.array([1, -2], np.float16)), is_finite(np.array([1, np.inf], np.float16))
    (True, False)
    """
    return bool((array.view(np.uint16) & 0x7FFF).max() < _INFINITE)


def saturated(array: NDArray[np.float32]) -> NDArray[np.float16]:
    """The values in float16, at most its largest one; those that are not finite stay so."""
    top = float(np.finfo(np.float16).max)
    within = np.where(np.isfinite(array), np.clip(array, -top, top), array)
    return within.astype(np.float16)


def read_half(graph: onnx.GraphProto, names: Collection[str]) -> None:
    """Let a graph take some inputs in float16, under the names of these copies."""
    for value in graph.input:
        if value.name in names:
            cast = onnx.helper.make_node("Cast", [half(value.name)], [value.name], to=1)
            graph.node.insert(0, cast)
            value.name = half(value.name)
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16


def make_half(graph: onnx.GraphProto, names: Collection[str]) -> None:
    """Let a graph also make the float16 copies of some of its tensors, as outputs."""
    for name in sorted(names):
        to = onnx.TensorProto.FLOAT16
        graph.node.append(onnx.helper.make_node("Cast", [name], [half(name)], to=to))
        graph.output.append(onnx.ValueInfoProto(name=half(name)))
