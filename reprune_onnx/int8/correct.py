"""Biases and scales corrected after quantization, on the images that its ranges were measured on.

Layers go in graph order, each on the activations of those before it, in int8. With y what the float
network has behind a layer and y' what the quantized one has there, each channel gets the scale and
the shift that bring a·y' + c nearest to y:

    a = cov(y', y)/var(y')        c = mean(y) - a·mean(y')

a goes into the scale of the channel's weights, c into the bias. No whole number of a weight
changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.activations.frontier import Frontier
from reprune_onnx.activations.images import Images
from reprune_onnx.activations.linear import Linear
from reprune_onnx.activations.sampling import Look, shares
from reprune_onnx.activations.store import Store
from reprune_onnx.analyzer.dequantized import DEQUANTIZE
from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.analyzer.op_kinds import CONVOLUTIONS, MATRIX_PRODUCTS
from reprune_onnx.recovery.values import with_values
from reprune_onnx.types import Floats, Model
from reprune_onnx.watch import Progress

Array = NDArray[Any]
_FARTHEST = 2.0  # factor by which a scale changes at most
_LAYERS = {*CONVOLUTIONS, *MATRIX_PRODUCTS}


@dataclass(frozen=True)
class Correctable:
    """A layer of the quantized network: the tensor that it makes there, and in the float one.

    ``scale`` is the constant that holds the scale of each output channel of its weight, None where
    all have one. ``bias`` holds the whole numbers of what is added, and ``step`` their scale.
    """

    layer: Linear
    target: str
    made: str
    scale: str | None
    bias: str
    step: str


def corrected(
    ready: Model, quantized: Model, images: Images, progress: Progress | None = None
) -> Model:
    """Return the quantized model with other scales of weights and other biases.

    ``ready`` is the float network, whose layers have the same names.
    """
    before, after = Graph(ready), Graph(quantized)
    layers = list(_layers(before, after))
    if not layers:
        return quantized
    looks = [Look(x.target, x.layer.axis) for x in layers]
    counts = [share.batches for share in shares(ready.proto, images.batches, looks)]
    theirs, ours = (
        Frontier(model, images.batches, names, counts, Store(images.room))
        for model, names in (
            (ready, [[x.target] for x in layers]),
            (quantized, [[x.made] for x in layers]),
        )
    )
    values: dict[str, Array] = {}
    for k, layer in enumerate(layers):
        theirs.advance()
        ours.advance()
        changed, factor, shift = _changed(after, layer, _fit(theirs, ours, layer))
        ours.change(changed)
        ours.rescale(layer.layer, factor, shift)
        values |= changed
        if progress is not None:
            progress("correcting", k + 1, len(layers))
    return with_values(quantized, values)


@dataclass(frozen=True)
class _Fit:
    """Of each channel the factor a, the mean that it has to have, and the one it has (n_out,)."""

    factor: Floats
    mean: Floats
    now: Floats


def _fit(theirs: Frontier, ours: Frontier, x: Correctable) -> _Fit:
    n, sums = 0, np.zeros((4, x.layer.n_out))
    for b in range(ours.batches):
        y, mine = (f.compute(b)[name] for f, name in ((theirs, x.target), (ours, x.made)))
        at = np.arange(x.layer.positions(y))
        t, s = (x.layer.outputs(a, at).astype(np.float64) for a in (y, mine))
        n += len(t)
        sums += [t.sum(0), s.sum(0), (s * s).sum(0), (s * t).sum(0)]
    mean, now, squares, product = sums / max(n, 1)
    variance = squares - now**2
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = (product - now * mean) / variance
    sound = (variance > 1e-12 * squares) & (factor > 1 / _FARTHEST) & (factor < _FARTHEST)
    return _Fit(np.where(sound, factor, 1.0), mean, now)


def _changed(graph: Graph, x: Correctable, fit: _Fit) -> tuple[dict[str, Array], Floats, Floats]:
    """New values of constants, and the factor and shift that they bring about."""
    values: dict[str, Array] = {}
    factor = np.ones_like(fit.factor) if x.scale is None else fit.factor
    shift = fit.mean - factor * fit.now
    if x.scale is not None:
        scale = graph.array(x.scale)
        values[x.scale] = (scale * factor).astype(scale.dtype)
    step, whole = graph.array(x.step), graph.array(x.bias)
    new = step if x.scale is None else (step * factor).astype(step.dtype)
    bias = whole * step.astype(np.float64)
    limits = np.iinfo(whole.dtype)
    rounded = np.clip(np.rint((bias * factor + shift) / new), limits.min, limits.max)
    values |= {x.step: new, x.bias: rounded.astype(whole.dtype)}
    return values, factor, rounded * new - factor * bias


def _layers(before: Graph, after: Graph) -> Iterator[Correctable]:
    """The layers of both networks that can be corrected, in graph order."""
    names = {op.proto.name: op for op in before.ops}
    for op in after.ops:
        theirs = names.get(op.proto.name)
        if op.type not in _LAYERS or theirs is None or theirs.type != op.type:
            continue
        held = _dequantized(after, op.inputs[1])
        if held is None or not before.is_constant(theirs.inputs[1]):
            continue
        layer = Linear(op, tuple(before.shape(theirs.inputs[1])))
        added = _dequantized(after, op.inputs[2]) if layer.adds else None
        if added is None or not _alone(after, added, op):
            continue
        bias, step = added.inputs[:2]
        each = [after.array(name).size == layer.n_out for name in (held.inputs[1], step)]
        scale = held.inputs[1] if all(each) and _alone(after, held, op) else None
        if after.array(bias).size == layer.n_out:
            yield Correctable(layer, theirs.outputs[0], op.outputs[0], scale, bias, step)


def _dequantized(graph: Graph, name: str) -> Op | None:
    """The DequantizeLinear that makes a constant of whole numbers."""
    maker = graph.producer(name)
    if maker is None or maker.type != DEQUANTIZE or not graph.is_constant(maker.inputs[0]):
        return None
    return maker


def _alone(graph: Graph, maker: Op, op: Op) -> bool:
    """Whether only ``op`` reads what a DequantizeLinear makes, and only that its constants."""
    names = (*maker.inputs[:2], maker.outputs[0])
    readers = {r.index for name in names for r in graph.readers(name)}
    return readers <= {maker.index, op.index}
