"""The layers that int8 costs most, found by measuring, and left in float as long as that helps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
from numpy.typing import NDArray

from reprune_onnx.activations.frontier import Frontier
from reprune_onnx.activations.images import Images
from reprune_onnx.activations.store import Store
from reprune_onnx.analyzer.dequantized import DEQUANTIZE, QUANTIZE
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.int8.error import ChannelError, Reference
from reprune_onnx.int8.quantizer import Quantizer
from reprune_onnx.int8.units import Unit, behind, units_of
from reprune_onnx.runtime.ort import Session
from reprune_onnx.types import Model
from reprune_onnx.watch import Progress

Array = NDArray[Any]
_GAIN = 0.1  # share of the error that as many layers more in float must take away
_SMALL = 1e-3  # error of the outputs, of their variance, that no answer depends on
_MOST = 0.5  # of the layers
_PATIENCE = 2  # steps in turn that may gain less
_LEAST = 1e-6  # of the mean variance: what a channel inside the network varies by at least
_BATCHES = 4  # on which the loss of each layer is measured


@dataclass(frozen=True)
class LayerLoss:
    """The error of what a layer makes in int8 of inputs in float, relative to its variance."""

    layer: str
    loss: float


@dataclass(frozen=True)
class Mixed:
    """A model in int8 but for the layers ``in_float``.

    ``losses`` are those of all layers, the largest first; ``errors`` those of the outputs with the
    first 0, 1, 2, 4, … of them in float.
    """

    model: Model
    in_float: tuple[str, ...]
    losses: tuple[LayerLoss, ...]
    errors: Mapping[int, float]


def mixed(quantizer: Quantizer, held_out: Images, progress: Progress | None = None) -> Mixed:
    """Quantize, and leave the layers in float that lose most, while the outputs gain by it.

    The loss of every layer is measured on images that the ranges were not measured on. Then the
    worst 1, 2, 4, … stay in float, until two steps in turn take less than a tenth of the error of
    the outputs away. Nodes between the last layers and the outputs stay in float without being
    asked: they cost little, and what they make is the answer.
    """
    graph = Graph(quantizer.ready)
    units, end = units_of(graph), sorted(behind(graph))
    every = quantizer.quantized(end)
    losses = _losses(quantizer.ready, every, units, held_out, progress)
    judge = Reference(quantizer.ready, held_out)
    by_layer = {unit.layer: unit for unit in units}
    best, error, count = every, judge.error_of(every), 0
    errors = {} if error is None else {0: error}
    most, more, vain = int(_MOST * len(losses)), 1, 0
    while error is not None and error > _SMALL and more <= most and vain < _PATIENCE:
        names = [n for x in losses[:more] for n in by_layer[x.layer].nodes]
        tried = quantizer.quantized([*end, *names])
        reached = errors[more] = judge.error_of(tried) or 0.0
        if progress is not None:
            progress("choosing", more, most)
        if reached <= (1 - _GAIN) * error:
            best, error, count, vain = tried, reached, more, 0
        else:
            vain += 1
        more *= 2
    return Mixed(best, tuple(x.layer for x in losses[:count]), tuple(losses), errors)


def _losses(
    ready: Model,
    quantized: Model,
    units: Sequence[Unit],
    images: Images,
    progress: Progress | None,
) -> list[LayerLoss]:
    """The loss of every unit that is quantized, the largest first."""
    graph = Graph(quantized)
    batches = images.batches[:_BATCHES]
    wanted = [u for u in units if any(_rounds(graph, name) for name in (*u.reads, *u.ends))]
    steps = [[*u.reads, *u.ends] for u in wanted]
    floats = Frontier(ready, batches, steps, [len(batches)] * len(steps), Store(images.room))
    losses = []
    for k, unit in enumerate(wanted):
        floats.advance()
        arrays = [floats.compute(b) for b in range(len(batches))]
        losses.append(LayerLoss(unit.layer, _loss(graph, unit, arrays)))
        if progress is not None:
            progress("measuring", k + 1, len(wanted))
    return sorted(losses, key=lambda x: -x.loss)


def _loss(graph: Graph, unit: Unit, batches: Sequence[Mapping[str, Array]]) -> float:
    """The largest error of what a unit makes in int8, of what it reads in float."""
    alone = _alone(graph, unit, batches[0])
    session = Session(alone, optimize=True)
    errors = [ChannelError(batches[0][name], _LEAST) for name in unit.ends]
    for arrays in batches:
        made = session.run({port.name: arrays[port.name] for port in session.inputs})
        for name, output, error in zip(unit.ends, alone.graph.output, errors, strict=True):
            error.add(arrays[name], made[output.name])
    return max(error.value() for error in errors)


def _rounds(graph: Graph, name: str) -> bool:
    return any(reader.type == QUANTIZE for reader in graph.readers(name))


def _rounded(graph: Graph, name: str) -> str:
    """The tensor that holds the rounded values of ``name``; itself where nothing rounds it."""
    for quantize in graph.readers(name):
        if quantize.type == QUANTIZE:
            for back in graph.readers(quantize.outputs[0]):
                if back.type == DEQUANTIZE:
                    return back.outputs[0]
    return name


def _alone(graph: Graph, unit: Unit, arrays: Mapping[str, Array]) -> onnx.ModelProto:
    """The part of a quantized network that makes what a unit makes, rounded, from what it reads."""
    outputs = [_rounded(graph, name) for name in unit.ends]
    nodes: set[int] = set()
    read: set[str] = set()
    stack = list(outputs)
    while stack:
        name = stack.pop()
        op = graph.producer(name)
        if name in unit.reads or op is None:
            read.add(name)
        elif op.index not in nodes:
            nodes.add(op.index)
            stack += [n for n in op.inputs if n]
    source = graph.proto
    body = onnx.GraphProto(name=unit.layer)
    body.node.extend(graph.ops[i].proto for i in sorted(nodes))
    body.initializer.extend(t for t in source.graph.initializer if t.name in read)
    for name in sorted(read & set(unit.reads)):
        kind = onnx.helper.np_dtype_to_tensor_dtype(arrays[name].dtype)
        shape = [None] * arrays[name].ndim
        body.input.append(onnx.helper.make_tensor_value_info(name, kind, shape))
    body.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    proto = onnx.ModelProto(ir_version=source.ir_version, graph=body)
    proto.opset_import.extend(source.opset_import)
    return proto
