"""Windows that take a mean, a maximum or a norm."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor
from torch.nn import functional as F

from reprune_onnx.training.bridge.node import Function, Node
from reprune_onnx.training.bridge.ops.windows import Window, pad_image

_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_MEAN = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def max_pool(node: Node) -> Function:
    """MaxPool; the indices that may be its second output are refused."""
    window = Window.of(node, node.attr("kernel_shape"))
    if node.used_outputs > 1:
        raise node.refuse("the indices of the maxima")

    def run(x: Tensor) -> Tensor:
        begin, end = _all_padding(node, window, x)
        half = all(p <= k // 2 for p, k in zip(begin, window.kernel, strict=True))
        if begin != end or not half:
            x, begin = pad_image(x, begin, end, float("-inf")), [0] * len(begin)
        return _MAX[len(begin)](x, window.kernel, window.strides, begin, window.dilations)

    return run


def average_pool(node: Node) -> Function:
    """AveragePool: the mean of what lies inside the image, or also of the padding."""
    window = Window.of(node, node.attr("kernel_shape"))
    count_padding = bool(node.attr("count_include_pad", 0))
    if any(d > 1 for d in window.dilations):
        raise node.refuse("a dilated window")

    def mean(x: Tensor) -> Tensor:
        return _MEAN[len(window.kernel)](x, window.kernel, window.strides)

    def run(x: Tensor) -> Tensor:
        begin, end = _all_padding(node, window, x)
        if not any(begin) and not any(end):
            return mean(x)
        counted = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype, device=x.device)
        if count_padding:
            before, after = window.padding(x.shape[2:])
            counted = pad_image(counted, before, after, 1.0)
            rest = [e - a for e, a in zip(end, after, strict=True)]
            counted = pad_image(counted, [0] * len(rest), rest)
        else:
            counted = pad_image(counted, begin, end)
        return mean(pad_image(x, begin, end)) / mean(counted)

    return run


def lp_pool(node: Node) -> Function:
    """LpPool: the p-norm of every window."""
    window = Window.of(node, node.attr("kernel_shape"))
    p = node.attr("p", 2)
    if any(d > 1 for d in window.dilations):
        raise node.refuse("a dilated window")

    def run(x: Tensor) -> Tensor:
        begin, end = _all_padding(node, window, x)
        powers = pad_image(x.abs() ** p, begin, end)
        means = _MEAN[len(begin)](powers, window.kernel, window.strides)
        return (means * prod(window.kernel)) ** (1.0 / p)

    return run


def global_pool(node: Node) -> Function:
    """GlobalAveragePool, GlobalMaxPool, GlobalLpPool."""
    p = node.attr("p", 2)

    def run(x: Tensor) -> Tensor:
        axes = tuple(range(2, x.ndim))
        if node.op.type == "GlobalAveragePool":
            return x.mean(axes, keepdim=True)
        if node.op.type == "GlobalMaxPool":
            return x.amax(axes, keepdim=True)
        return (x.abs() ** p).sum(axes, keepdim=True) ** (1.0 / p)

    return run


def _all_padding(node: Node, window: Window, x: Tensor) -> tuple[list[int], list[int]]:
    if x.ndim - 2 not in _MEAN:
        raise node.refuse(f"{x.ndim - 2} image axes")
    begin, end = window.padding(x.shape[2:])
    if node.attr("ceil_mode", 0):
        end = [e + o for e, o in zip(end, window.overhang(x.shape[2:]), strict=True)]
    return begin, end
