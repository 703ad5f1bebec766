"""Parts of tensors, and tensors put together."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from reprune_onnx.training.bridge.node import Function, Node, axis_of
from reprune_onnx.training.bridge.ops.elementwise import together


def concat(node: Node) -> Function:
    """Concat; an input without elements has any rank."""
    axis = node.attr("axis", 1)
    return lambda *tensors: torch.cat(together(tensors), axis)


def slice_(node: Node) -> Function:
    """Slice: bounds as attributes before opset 10, then as inputs; any step."""

    def run(*args: Tensor | None) -> Tensor:
        (x,) = (a for a in args[:1] if a is not None)
        starts = node.integers(args, 1, "starts") or []
        ends = node.integers(args, 2, "ends") or []
        axes = node.integers(args, 3, "axes") or list(range(len(starts)))
        steps = node.integers(args, 4) or [1] * len(starts)
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
            where = range(*slice(start, end, step).indices(x.shape[axis]))
            if step == 1:
                x = x.narrow(axis, where.start if where else 0, len(where))
            else:
                index = torch.tensor(list(where), dtype=torch.int64, device=x.device)
                x = x.index_select(axis, index)
        return x

    return run


def split(node: Node) -> Function:
    """Split: sizes as an attribute or an input, or equal parts, the last of them smaller."""
    axis = node.attr("axis", 0)

    def run(x: Tensor, *more: Tensor | None) -> tuple[Tensor, ...]:
        sizes = node.integers((x, *more), 1, "split")
        parts = node.attr("num_outputs") or len(node.op.outputs)
        step = -(-x.shape[axis] // parts)
        return x.split(sizes or step, axis)

    return run


def gather(node: Node) -> Function:
    """Gather along an axis; negative indices count from the end."""
    axis = node.attr("axis", 0)

    def run(x: Tensor, index: Tensor) -> Tensor:
        a = axis_of(axis, x.ndim)
        index = index.to(device=x.device, dtype=torch.int64)
        index = torch.where(index < 0, index + x.shape[a], index)
        y = x.index_select(a, index.reshape(-1))
        return y.reshape((*x.shape[:a], *index.shape, *x.shape[a + 1 :]))

    return run


def gather_elements(node: Node) -> Function:
    """GatherElements."""
    axis = node.attr("axis", 0)

    def run(x: Tensor, index: Tensor) -> Tensor:
        index = index.to(x.device)
        return x.gather(axis, torch.where(index < 0, index + x.shape[axis], index))

    return run


def gather_nd(node: Node) -> Function:
    """GatherND, without batch dimensions."""
    if node.attr("batch_dims", 0):
        raise node.refuse("batch_dims")

    def run(x: Tensor, index: Tensor) -> Tensor:
        return x[tuple(index.to(x.device).movedim(-1, 0))]

    return run


def scatter_nd(node: Node) -> Function:
    """ScatterND: updates replace what was there."""
    if node.attr("reduction", "none") != "none":
        raise node.refuse("a reduction")

    def run(x: Tensor, index: Tensor, updates: Tensor) -> Tensor:
        x, index, updates = together((x, index, updates))
        y = x.clone()
        y[tuple(index.movedim(-1, 0))] = updates
        return y

    return run


def pad(node: Node) -> Function:
    """Pad by a constant, or by positions of the tensor itself (reflect, edge, wrap)."""
    mode = node.attr("mode", "constant")

    def run(*args: Tensor | None) -> Tensor:
        (x,) = (a for a in args[:1] if a is not None)
        pads = node.integers(args, 1, "pads" if node.op.opset > 1 else "paddings") or []
        axes = node.integers(args, 3) or list(range(len(pads) // 2))
        begin, end = [0] * x.ndim, [0] * x.ndim
        for k, axis in enumerate(axes):
            begin[axis], end[axis] = pads[k], pads[k + len(axes)]
        if mode == "constant":
            value = node.number(args, 2, "value") or 0
            pairs = [p for b, e in zip(reversed(begin), reversed(end), strict=True) for p in (b, e)]
            return F.pad(x, pairs, value=value)
        for axis in range(x.ndim):
            if begin[axis] or end[axis]:
                at = _positions(x.shape[axis], (begin[axis], end[axis]), mode)
                x = x.index_select(axis, torch.from_numpy(at).to(x.device))
        return x

    return run


def _positions(n: int, pads: tuple[int, int], mode: Any) -> Any:
    positions = np.pad(np.arange(n), [max(0, p) for p in pads], mode=mode)
    return positions[max(0, -pads[0]) : len(positions) - max(0, -pads[1])]


def crop(node: Node) -> Function:
    """Crop, of before opset 7: left, top, right and bottom borders go, or a size is left."""
    left, top, right, bottom = node.attr("border")
    scale = node.attr("scale")

    def run(x: Tensor) -> Tensor:
        h, w = scale or (x.shape[2] - top - bottom, x.shape[3] - left - right)
        return x[:, :, top : top + h, left : left + w]

    return run
