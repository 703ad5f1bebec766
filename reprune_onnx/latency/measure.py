"""The times of single layers at several widths, in ONNX Runtime on this machine."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np
import onnx

from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.latency.table import LatencyTable, Row
from reprune_onnx.runtime.ort import Session
from reprune_onnx.types import ChannelMap, Layer
from reprune_onnx.watch import Progress

_SHARES = (0.25, 0.5, 1.0)  # of the channels
_SECONDS = 0.02  # of measuring, for one layer at one width
_FEWEST = 5
_TINY = 1e-4  # ms: no layer takes no time
_OPSET = 13


def measure_layers(
    graph: Graph,
    channels: ChannelMap,
    whole_ms: float,
    progress: Progress | None = None,
    threads: int = 0,
) -> LatencyTable:
    """Measure every layer at several widths on ``threads`` (0 for all cores), equal layers once.

    What the whole model takes beyond its layers, ``whole_ms`` less their sum, is shared out by the
    size of what they make, as activations and additions work on that; where the layers alone take
    more than the whole, they are scaled down to it.
    """
    cut: dict[tuple[int, int], set[int]] = {}
    for site in channels.sites:
        cut.setdefault((site.node, site.input), set()).add(site.axis)
    overhead = _overhead(threads)
    times: dict[object, list[tuple[int, int, float]]] = {}
    points: list[tuple[Layer, list[tuple[int, int, float]]]] = []
    for k, layer in enumerate(channels.layers):
        op = graph.ops[layer.node]
        shape = _input_shape(channels, op, layer)
        axes = cut.get((layer.node, layer.input), set())
        if shape is not None:
            key = (op.type, str(op.attrs), layer.shape, shape, tuple(sorted(axes)))
            if key not in times:
                times[key] = [
                    (*w, max(_ms(op, layer, w, shape, threads) - overhead, _TINY))
                    for w in _widths(op, layer, axes)
                ]
            points.append((layer, times[key]))
        if progress is not None:
            progress("measuring layers", k + 1, len(channels.layers))
    machine = f"{platform.machine()}, {platform.system()}"
    return LatencyTable(tuple(_rows(points, whole_ms)), machine=machine)


def _rows(
    points: Sequence[tuple[Layer, list[tuple[int, int, float]]]], whole_ms: float
) -> Iterator[Row]:
    """The rows of the table; the last of each layer's points is that of its full width."""
    total = sum(times[-1][2] for _, times in points)
    made = sum(layer.positions * len(layer.out_ids) for layer, _ in points)
    scale = min(1.0, whole_ms / total) if total else 1.0
    rest = max(0.0, whole_ms - total) / max(1, made)  # per value that a layer makes
    for layer, times in points:
        for r, c, ms in times:
            width = (r, c)[min(layer.out_axis, 1)] / layer.shape[min(layer.out_axis, 1)]
            share = rest * layer.positions * len(layer.out_ids) * width
            yield Row(layer.name, r, c, ms * scale + share)


def _input_shape(channels: ChannelMap, op: Op, layer: Layer) -> tuple[int, ...] | None:
    shape = channels.tensors.get(op.inputs[1 - layer.input])
    one_weight = layer.input == 1 and len(layer.shape) > 1 and not (layer.more or op.domain)
    if shape is None or None in shape.shape or not one_weight:
        return None
    return tuple(int(n) for n in shape.shape if n is not None)


def _widths(op: Op, layer: Layer, axes: set[int]) -> Iterator[tuple[int, int]]:
    """The (rows, columns) to measure, the full ones last."""
    unit = 1 if _depthwise(op, layer) else layer.conv_groups
    levels = []
    for axis in (0, 1):
        n = layer.shape[axis]
        step = unit if axis == 0 else 1
        shares = _SHARES if axis in axes else (1.0,)
        levels.append(sorted({max(step, round(n * s / step) * step) for s in shares}))
    yield from ((r, c) for r in levels[0] for c in levels[1])


def _depthwise(op: Op, layer: Layer) -> bool:
    return op.type == "Conv" and layer.conv_groups == layer.shape[0] and layer.shape[1] == 1


def _ms(
    op: Op, layer: Layer, width: tuple[int, int], shape: tuple[int, ...], threads: int
) -> float:
    """The least time in ms of the layer with a weight of that width."""
    return _least(_model(op, layer, width, shape), _narrowed(op, layer, width, shape), threads)


def _least(model: onnx.ModelProto, shape: tuple[int, ...], threads: int) -> float:
    session = Session(model, optimize=True, threads=threads)
    feeds = {"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
    run = session.bind(feeds).run
    run()
    times: list[float] = []
    while len(times) < _FEWEST or sum(times) < _SECONDS:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def _overhead(threads: int) -> float:
    """The time in ms of a run that computes next to nothing: what only a single layer pays."""
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    return _least(_wrapped(node, (1,), []), (1,), threads)


def _narrowed(
    op: Op, layer: Layer, width: tuple[int, int], shape: tuple[int, ...]
) -> tuple[int, ...]:
    """The input's shape at that width."""
    rows, columns = width
    if op.type == "Conv":
        groups = rows if _depthwise(op, layer) else layer.conv_groups
        return (shape[0], columns * groups, *shape[2:])
    if op.type == "ConvTranspose":
        return (shape[0], rows, *shape[2:])
    n_in = columns if op.type == "Gemm" and op.attrs.get("transB", 0) else rows
    return (prod(shape[:-1]), n_in)


def _model(op: Op, layer: Layer, width: tuple[int, int], shape: tuple[int, ...]) -> onnx.ModelProto:
    """A model of the one layer."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((*width, *layer.shape[2:])).astype(np.float32)
    attributes: dict[str, Any] = dict(op.attrs)
    if "group" in attributes and _depthwise(op, layer):
        attributes["group"] = width[0]
    attributes.pop("transA", None)
    node = onnx.helper.make_node(op.type, ["x", "w"], ["y"], **attributes)
    tensors = [onnx.numpy_helper.from_array(weight, "w")]
    return _wrapped(node, _narrowed(op, layer, width, shape), tensors)


def _wrapped(
    node: onnx.NodeProto, shape: tuple[int, ...], tensors: list[onnx.TensorProto]
) -> onnx.ModelProto:
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)
    graph = onnx.helper.make_graph([node], "layer", [x], [onnx.ValueInfoProto(name="y")], tensors)
    return onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", _OPSET)], ir_version=8
    )
