"""Normalisations: statistics of the batch, of the file, of an image or of a row."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from reprune_onnx.training.bridge.node import Function, Node, axis_of
from reprune_onnx.training.bridge.synchronize import summed


def batch_norm(node: Node) -> Function:
    """BatchNormalization: in training, the batch's statistics, and the running ones follow.

    Running statistics that the graph computes from constants have no place to be kept in: they
    stay, and the node normalises with them in training too.
    """
    eps, keep = node.attr("epsilon", 1e-5), node.attr("momentum", 0.9)
    if node.attr("training_mode", 0) or node.used_outputs > 1:
        raise node.refuse("a file that was exported in training mode: export it in eval mode")
    if node.attr("spatial", 1) == 0:
        raise node.refuse("statistics per pixel (spatial=0)")
    fixed = 3 in node.constants or 4 in node.constants

    def run(x: Tensor, w: Tensor, b: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        training = node.mode.training and not (fixed or node.mode.keep_statistics)
        if training and node.mode.synchronize:
            return _over_processes(x, (w, b, mean, var), keep, eps)
        return F.batch_norm(x, mean, var, w, b, training, 1.0 - keep, eps)

    return run


def _over_processes(
    x: Tensor, tensors: tuple[Tensor, Tensor, Tensor, Tensor], keep: float, eps: float
) -> Tensor:
    """Normalise with the statistics of all processes' batches."""
    w, b, running_mean, running_var = tensors
    axes = (0, *range(2, x.ndim))
    count = torch.tensor([x.numel() / x.shape[1]], dtype=x.dtype, device=x.device)
    sums = summed(torch.cat([x.sum(axes), count]))
    n = sums[-1]
    mean = sums[:-1] / n
    shape = (1, -1, *[1] * (x.ndim - 2))
    centred = x - mean.reshape(shape)
    var = summed((centred**2).sum(axes)) / n
    with torch.no_grad():
        running_mean.mul_(keep).add_(mean, alpha=1.0 - keep)
        running_var.mul_(keep).add_(var * (n / (n - 1)), alpha=1.0 - keep)
    scale = w * torch.rsqrt(var + eps)
    return centred * scale.reshape(shape) + b.reshape(shape)


def instance_norm(node: Node) -> Function:
    """InstanceNormalization."""
    eps = node.attr("epsilon", 1e-5)

    def run(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return F.instance_norm(x, weight=w, bias=b, eps=eps)

    return run


def group_norm(node: Node) -> Function:
    """GroupNormalization: scale and bias per group before opset 21, then per channel."""
    eps, groups = node.attr("epsilon", 1e-5), node.attr("num_groups")

    def run(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        if len(w) != x.shape[1]:
            repeats = x.shape[1] // groups
            w, b = w.repeat_interleave(repeats), b.repeat_interleave(repeats)
        return F.group_norm(x, groups, w, b, eps)

    return run


def layer_norm(node: Node) -> Function:
    """LayerNormalization, from ``axis`` to the last; mean and 1/deviation as further outputs."""
    eps, axis = node.attr("epsilon", 1e-5), node.attr("axis", -1)

    def run(x: Tensor, w: Tensor, b: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        axes = tuple(range(axis_of(axis, x.ndim), x.ndim))
        mean = x.mean(axes, keepdim=True)
        inverse = torch.rsqrt(((x - mean) ** 2).mean(axes, keepdim=True) + eps)
        y = (x - mean) * inverse * w
        return y if b is None else y + b, mean, inverse

    return run


def rms_norm(node: Node) -> Function:
    """RMSNormalization, from ``axis`` to the last."""
    eps, axis = node.attr("epsilon", 1e-5), node.attr("axis", -1)

    def run(x: Tensor, w: Tensor) -> Tensor:
        axes = tuple(range(axis_of(axis, x.ndim), x.ndim))
        return x * torch.rsqrt((x**2).mean(axes, keepdim=True) + eps) * w

    return run


def lp_norm(node: Node) -> Function:
    """LpNormalization along one axis; zeros stay zero."""
    p, axis = node.attr("p", 2), node.attr("axis", -1)

    def run(x: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(x, p, axis, keepdim=True)
        return x / torch.where(norm == 0, torch.ones_like(norm), norm)

    return run


def mean_variance(node: Node) -> Function:
    """MeanVarianceNormalization over ``axes``."""
    axes = tuple(node.attr("axes") or (0, 2, 3))

    def run(x: Tensor) -> Tensor:
        centred = x - x.mean(axes, keepdim=True)
        return centred / (((centred**2).mean(axes, keepdim=True)).sqrt() + 1e-9)

    return run


def lrn(node: Node) -> Function:
    """LRN: across neighbouring channels."""
    size, alpha = node.attr("size"), node.attr("alpha", 1e-4)
    beta, bias = node.attr("beta", 0.75), node.attr("bias", 1.0)
    before, after = (size - 1) // 2, size - 1 - (size - 1) // 2

    def run(x: Tensor) -> Tensor:
        squares = F.pad(x**2, [0, 0] * (x.ndim - 2) + [before, after])
        around = squares.unfold(1, size, 1).sum(-1)
        return x / (bias + alpha / size * around) ** beta

    return run


def softmax(node: Node) -> Function:
    """Softmax, LogSoftmax, Hardmax: along one axis since opset 13, over all from it on before."""
    old = node.op.opset < 13
    axis = node.attr("axis", 1 if old else -1)

    def along(x: Tensor, a: int) -> Tensor:
        if node.op.type == "Softmax":
            return x.softmax(a)
        if node.op.type == "LogSoftmax":
            return x.log_softmax(a)
        return F.one_hot(x.argmax(a), x.shape[a]).movedim(-1, a).to(x.dtype)

    def run(x: Tensor) -> Tensor:
        if not old:
            return along(x, axis)
        return along(x.flatten(axis_of(axis, x.ndim)), -1).reshape(x.shape)

    return run
