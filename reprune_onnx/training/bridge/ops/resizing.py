"""Resize and Upsample: one weighted gather per axis, for every mode and every opset.

Where a pixel of the result comes from is computed on the CPU, in float32 as ONNX Runtime does, once
per size. Every step is an index_select and a product, so gradients follow by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reprune_onnx.training.bridge.node import Function, Node
from reprune_onnx.types import Floats, Ints

_ROUND: dict[str, Callable[[Floats], Floats]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
}


def resize(node: Node) -> Function:
    """Resize and Upsample by scales or to sizes."""
    sample = _sampler(node)
    scales_input = 1 if node.op.type == "Upsample" or node.op.opset < 11 else 2
    axes, policy = node.attr("axes"), node.attr("keep_aspect_ratio_policy", "stretch")

    def run(*args: Tensor | None) -> Tensor:
        (x,) = (a for a in args[:1] if a is not None)
        sizes = node.integers(args, 3) if scales_input == 2 else None
        scales = node.numbers(args, scales_input, "scales")
        if sizes:
            if axes is None:
                sizes = node.mode.scaled(sizes, x.shape[0])
            places = list(axes or range(len(sizes)))
            ratios = [n / x.shape[a] for a, n in zip(places, sizes, strict=True)]
            if policy != "stretch":
                ratios = [(min if policy == "not_larger" else max)(ratios)] * len(ratios)
                sizes = [int(x.shape[a] * r + 0.5) for a, r in zip(places, ratios, strict=True)]
        else:
            ratios = scales or [1.0] * x.ndim
            places = list(axes or range(len(ratios)))
            sizes = [int(np.floor(x.shape[a] * s)) for a, s in zip(places, ratios, strict=True)]
        for axis, n_out, ratio in zip(places, sizes, ratios, strict=True):
            if n_out != x.shape[axis] or ratio != 1.0:
                x = _along(x, axis, *sample(x.shape[axis], n_out, ratio))
        return x

    return run


def _along(x: Tensor, axis: int, index: Ints, weights: Floats | None) -> Tensor:
    """The weighted sum of taps: ``index`` and ``weights`` are (taps, n_out)."""
    where = torch.from_numpy(index).to(x.device)
    if weights is None:
        return x.index_select(axis, where[0])
    w = torch.from_numpy(weights.astype(np.float32)).to(x.device)
    shape = [-1 if a == axis % x.ndim else 1 for a in range(x.ndim)]
    parts = [x.index_select(axis, i) * v.reshape(shape) for i, v in zip(where, w, strict=True)]
    return torch.stack(parts).sum(0)


def _sampler(node: Node) -> Callable[[int, int, float], tuple[Ints, Floats | None]]:
    """(n_in, n_out, scale) -> taps of every output position, and their weights."""
    mode = node.attr("mode", "nearest")
    old = node.op.type == "Upsample" or node.op.opset < 11
    coordinates = "asymmetric" if old else node.attr("coordinate_transformation_mode", "half_pixel")
    rounding = "floor" if old else node.attr("nearest_mode", "round_prefer_floor")
    a, outside = node.attr("cubic_coeff_a", -0.75), node.attr("exclude_outside", 0)
    if coordinates == "tf_crop_and_resize" or node.attr("antialias", 0):
        raise node.refuse("tf_crop_and_resize, or antialiasing,")

    @lru_cache(maxsize=16)
    def sample(n_in: int, n_out: int, scale: float) -> tuple[Ints, Floats | None]:
        x = _origin(coordinates, n_in, n_out, scale)
        if mode == "nearest":
            way = "ceil" if old and scale < 1 else rounding  # as ONNX Runtime does before opset 11
            nearest = _ROUND[way](x).astype(np.int64)
            return np.clip(nearest, 0, n_in - 1)[None], None
        if mode == "linear":
            x = np.clip(x, 0, n_in - 1)
        first = np.floor(x).astype(np.int64)
        t = x - first
        weights = np.stack([1 - t, t]) if mode == "linear" else _cubic(t, a)
        taps = first + np.arange(len(weights))[:, None] - (len(weights) // 2 - 1)
        if outside:
            weights = weights * ((taps >= 0) & (taps < n_in))
            weights = weights / weights.sum(0)
        return np.clip(taps, 0, n_in - 1), weights

    return sample


def _origin(coordinates: str, n_in: int, n_out: int, ratio: float) -> Any:
    """Where each output position (n_out,) lies on the input's axis, in float32."""
    k = np.arange(n_out, dtype=np.float32)  # ties fall as they do in float32
    scale = np.float32(ratio)
    if coordinates == "asymmetric":
        return k / scale
    if coordinates == "align_corners":
        return k * np.float32(n_in - 1) / np.float32(max(1, n_out - 1))
    if coordinates == "tf_half_pixel_for_nn":
        return (k + 0.5) / scale
    if coordinates == "pytorch_half_pixel" and n_out == 1:
        return k * 0
    if coordinates == "half_pixel_symmetric":
        adjustment = np.float32(n_out) / (scale * np.float32(n_in))
        return np.float32(n_in / 2) * (1 - adjustment) + (k + 0.5) / scale - 0.5
    return (k + 0.5) / scale - 0.5


def _cubic(t: Floats, a: float) -> Floats:
    """Keys' four weights at distance ``t`` from the second tap."""
    near = [((a + 2) * d - (a + 3)) * d * d + 1 for d in (t, 1 - t)]
    far = [((a * d - 5 * a) * d + 8 * a) * d - 4 * a for d in (t + 1, 2 - t)]
    return np.stack([far[0], near[0], near[1], far[1]])
