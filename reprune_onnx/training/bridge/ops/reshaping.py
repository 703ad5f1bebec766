"""The same values in another arrangement."""

from __future__ import annotations

import torch
from torch import Tensor

from reprune_onnx.training.bridge.node import Function, Node, axes_of, axis_of


def reshape(node: Node) -> Function:
    """Reshape: a batch that the file fixes follows the batch at hand."""
    zero_is_zero = bool(node.attr("allowzero", 0))

    def run(x: Tensor, *more: Tensor | None) -> Tensor:
        target = node.integers((x, *more), 1, "shape") or []
        if not zero_is_zero:
            target = [x.shape[a] if n == 0 else n for a, n in enumerate(target)]
        n = x.shape[0] if x.ndim else 1
        return x.reshape(tuple(node.mode.scaled(target, n)))

    return run


def flatten(node: Node) -> Function:
    """Flatten to a matrix."""
    axis = node.attr("axis", 1)

    def run(x: Tensor) -> Tensor:
        rows = 1
        for n in x.shape[: axis_of(axis, x.ndim)]:
            rows *= n
        return x.reshape(rows, -1)

    return run


def transpose(node: Node) -> Function:
    """Transpose; without ``perm`` the axes are reversed."""
    perm = node.attr("perm")
    return lambda x: x.permute(perm or list(reversed(range(x.ndim))))


def squeeze(node: Node) -> Function:
    """Squeeze: axes as an attribute, or as an input since opset 13."""

    def run(x: Tensor, *more: Tensor | None) -> Tensor:
        axes = node.integers((x, *more), 1, "axes")
        gone = axes_of(axes, x.ndim) if axes else [a for a, n in enumerate(x.shape) if n == 1]
        return x.reshape(tuple(n for a, n in enumerate(x.shape) if a not in gone))

    return run


def unsqueeze(node: Node) -> Function:
    """Unsqueeze: axes as an attribute, or as an input since opset 13."""

    def run(x: Tensor, *more: Tensor | None) -> Tensor:
        axes = node.integers((x, *more), 1, "axes") or []
        for a in sorted(axes_of(axes, x.ndim + len(axes))):
            x = x.unsqueeze(a)
        return x

    return run


def expand(node: Node) -> Function:
    """Expand: broadcast to a shape."""

    def run(x: Tensor, *more: Tensor | None) -> Tensor:
        shape = node.integers((x, *more), 1) or []
        shape = node.mode.scaled(shape, x.shape[0] if x.ndim == len(shape) and shape else 0)
        return x.expand(torch.broadcast_shapes(x.shape, tuple(shape)))

    return run


def tile(node: Node) -> Function:
    """Tile."""

    def run(x: Tensor, *more: Tensor | None) -> Tensor:
        return x.tile(node.integers((x, *more), 1) or [1])

    return run


def depth_to_space(node: Node) -> Function:
    """DepthToSpace, by depth or by columns and rows."""
    b, by_depth = node.attr("blocksize"), node.attr("mode", "DCR") == "DCR"

    def run(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        if by_depth:
            y = x.reshape(n, b, b, c // b**2, h, w).permute(0, 3, 4, 1, 5, 2)
        else:
            y = x.reshape(n, c // b**2, b, b, h, w).permute(0, 1, 4, 2, 5, 3)
        return y.reshape(n, c // b**2, h * b, w * b)

    return run


def space_to_depth(node: Node) -> Function:
    """SpaceToDepth."""
    b = node.attr("blocksize")

    def run(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        y = x.reshape(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4)
        return y.reshape(n, c * b**2, h // b, w // b)

    return run
