"""Norms written out: for parsers that lack LayerNormalization, GroupNormalization and the like.

A norm divides by √(mean(x²) + ε). Squares leave float16 where |x| > 256, so both are divided first
by m, the largest |x| (at least √ε): x / √(mean(x²) + ε) = (x/m) / √(mean((x/m)²) + (√ε/m)²), of
which no part is larger than 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx

from reprune_onnx.deployment.draft import Draft

_LEAST = 2.0**-14  # the smallest normal number of float16: no divisor is less
_HALF, _SINGLE = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
_CHANNELS_SCALED = 21  # the opset since which a GroupNormalization has a scale for every channel


def _layer_norm(d: Draft) -> str | None:
    """(X, Scale, B) -> (Y, Mean, InvStdDev)."""
    axes = _normalized_axes(d)
    if axes is None:
        return f"the rank of '{d.op.inputs[0]}' is not known"
    x = _in_single(d, d.op.inputs[0])
    mean = d.reduce("ReduceMean", x, axes)
    _scaled_and_shifted(d, _normalized(d, d.add("Sub", x, mean), axes, deviation=2), last=True)
    if _wants(d, 1):
        d.add("Identity", mean, named=d.op.outputs[1])
    return None


def _rms_norm(d: Draft) -> str | None:
    """(X, Scale) -> (Y, InvStdDev)."""
    axes = _normalized_axes(d)
    if axes is None:
        return f"the rank of '{d.op.inputs[0]}' is not known"
    x = _in_single(d, d.op.inputs[0])
    _scaled_and_shifted(d, _normalized(d, x, axes, deviation=1), last=True)
    return None


def _group_norm(d: Draft) -> str | None:
    """(X, scale, bias) -> Y: InstanceNormalization of groups, as older exporters write it."""
    x, groups, rank = d.op.inputs[0], int(d.op.attrs["num_groups"]), d.facts.rank(d.op.inputs[0])
    if rank is None:
        return f"the rank of '{x}' is not known"
    shape = d.add("Shape", x)
    grouped = d.add("Reshape", x, d.constant([0, groups, -1], np.int64))
    normed = _plain_instance_norm(d, grouped, groups)
    if d.op.opset >= _CHANNELS_SCALED:
        normed = d.add("Reshape", normed, shape)
        _scaled_and_shifted(d, normed, (-1, *(1,) * (rank - 2)), last=True)
        return None
    normed = _scaled_and_shifted(d, normed, (-1, 1))
    d.add("Reshape", normed, shape, last=True)
    return None


def _instance_norm(d: Draft) -> str | None:
    """(X, scale, bias) -> Y: where they are computed, they scale and shift behind the norm."""
    shape = d.facts.shapes.get(d.op.inputs[0])
    if shape is None or shape[1] is None:
        return f"the number of channels of '{d.op.inputs[0]}' is not known"
    normed = _plain_instance_norm(d, d.op.inputs[0], shape[1])
    _scaled_and_shifted(d, normed, (-1, *(1,) * (len(shape) - 2)), last=True)
    return None


def _plain_instance_norm(d: Draft, x: str, channels: int) -> str:
    one, zero = d.constant(np.ones(channels)), d.constant(np.zeros(channels))
    return d.add("InstanceNormalization", x, one, zero, epsilon=_epsilon(d))


def _normalized(d: Draft, x: str, axes: list[int], deviation: int) -> str:
    """x / √(mean(x²) + ε), and 1 / √(mean(x²) + ε) where output ``deviation`` is wanted."""
    root = math.sqrt(_epsilon(d))
    size = d.reduce("ReduceMax", d.add("Abs", x), axes)
    size = d.add("Max", size, _single(d, max(root, _LEAST)))
    part, rest = d.add("Div", x, size), d.add("Div", _single(d, root), size)
    square = d.reduce("ReduceMean", d.add("Mul", part, part), axes)
    divisor = d.add("Sqrt", d.add("Add", square, d.add("Mul", rest, rest)))
    if _wants(d, deviation):
        length = d.add("Mul", divisor, size)
        d.add("Div", _single(d, 1.0), length, named=d.op.outputs[deviation])
    return _as_given(d, d.add("Div", part, divisor))


def _scaled_and_shifted(
    d: Draft, x: str, shape: tuple[int, ...] | None = None, last: bool = False
) -> str:
    """x · scale + bias, both in another ``shape`` where it is given; there may be no bias."""
    scale, bias = (
        (name if shape is None or not name else d.reshaped(name, shape))
        for name in (d.op.inputs[1], d.op.inputs[2] if d.op.has(2) else "")
    )
    scaled = d.add("Mul", x, scale, last=last and not bias)
    return d.add("Add", scaled, bias, last=last) if bias else scaled


def _normalized_axes(d: Draft) -> list[int] | None:
    """The axes from ``axis`` on, counted from the last; None where the rank has to be known."""
    axis = int(d.op.attrs.get("axis", -1))
    rank = d.facts.rank(d.op.inputs[0])
    if axis >= 0 and rank is None:
        return None
    return list(range(axis if axis < 0 else axis - (rank or 0), 0))


def _epsilon(d: Draft) -> float:
    return float(d.op.attrs.get("epsilon", 1e-5))


def _wants(d: Draft, i: int) -> bool:
    return d.facts.given(d.op, i)


def _in_single(d: Draft, x: str) -> str:
    """``x`` in float32, in which these ops compute by default whatever they read."""
    return d.add("Cast", x, to=_SINGLE) if _is_half(d) else x


def _as_given(d: Draft, x: str) -> str:
    return d.add("Cast", x, to=_HALF) if _is_half(d) else x


def _single(d: Draft, value: float) -> str:
    return d.constant(value, np.float32)


def _is_half(d: Draft) -> bool:
    return d.facts.float_type(d.op) == np.float16


NORMS: dict[str, Callable[[Draft], str | None]] = {
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "RMSNormalization": _rms_norm,
    "SimplifiedLayerNormalization": _rms_norm,  # ONNX Runtime's own name for it
}
