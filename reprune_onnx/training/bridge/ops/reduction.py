"""Sums and extremes along axes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from reprune_onnx.training.bridge.node import Function, Node, axes_of

Reduction = Callable[[Tensor, list[int]], Tensor]

_REDUCTIONS: dict[str, Reduction] = {
    "ReduceL1": lambda x, axes: x.abs().sum(axes, keepdim=True),
    "ReduceL2": lambda x, axes: torch.linalg.vector_norm(x, 2, axes, keepdim=True),
    "ReduceLogSum": lambda x, axes: x.sum(axes, keepdim=True).log(),
    "ReduceLogSumExp": lambda x, axes: x.logsumexp(axes, keepdim=True),
    "ReduceMax": lambda x, axes: x.amax(axes, keepdim=True),
    "ReduceMean": lambda x, axes: x.mean(axes, keepdim=True),
    "ReduceMin": lambda x, axes: x.amin(axes, keepdim=True),
    "ReduceSum": lambda x, axes: x.sum(axes, keepdim=True),
    "ReduceSumSquare": lambda x, axes: (x**2).sum(axes, keepdim=True),
}
REDUCTIONS = " ".join([*_REDUCTIONS, "ReduceProd"])


def reduce(node: Node) -> Function:
    """A reduction; axes as an attribute, or as an input since opset 13 or 18."""
    keep = bool(node.attr("keepdims", 1))
    function = _REDUCTIONS.get(node.op.type, _product)

    def run(x: Tensor, *more: Tensor | None) -> Tensor:
        axes = node.integers((x, *more), 1, "axes")
        if not axes and node.attr("noop_with_empty_axes", 0):
            return x
        axes = sorted(axes_of(axes, x.ndim)) if axes else list(range(x.ndim))
        y = function(x, axes) if axes else x
        return y if keep else _without(y, axes)

    return run


def arg(node: Node) -> Function:
    """ArgMax and ArgMin; of equal values the first, or the last."""
    axis, keep = node.attr("axis", 0), bool(node.attr("keepdims", 1))
    last = bool(node.attr("select_last_index", 0))
    function = torch.argmax if node.op.type == "ArgMax" else torch.argmin

    def run(x: Tensor) -> Tensor:
        if not last:
            return function(x, axis, keepdim=keep)
        return x.shape[axis] - 1 - function(x.flip(axis), axis, keepdim=keep)

    return run


def top_k(node: Node) -> Function:
    """TopK: values and indices."""
    axis = node.attr("axis", -1)
    largest, ordered = bool(node.attr("largest", 1)), bool(node.attr("sorted", 1))

    def run(x: Tensor, *more: Tensor | None) -> tuple[Tensor, Tensor]:
        (k,) = node.integers((x, *more), 1, "k") or [1]
        values, indices = x.topk(k, axis, largest, ordered)
        return values, indices

    return run


def cumulative_sum(node: Node) -> Function:
    """CumSum."""
    exclusive, backwards = node.attr("exclusive", 0), node.attr("reverse", 0)

    def run(x: Tensor, *more: Tensor | None) -> Tensor:
        (axis,) = node.integers((x, *more), 1) or [0]
        x = x.flip(axis) if backwards else x
        y = x.cumsum(axis, dtype=x.dtype)
        y = y - x if exclusive else y
        return y.flip(axis) if backwards else y

    return run


def _product(x: Tensor, axes: list[int]) -> Tensor:
    for axis in axes:
        x = x.prod(axis, keepdim=True)
    return x


def _without(x: Tensor, axes: list[int]) -> Tensor:
    return x.reshape(tuple(n for a, n in enumerate(x.shape) if a not in axes))
