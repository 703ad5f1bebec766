"""BatchNormalization of its own for layers from which an exporter folded it, while they train.

It is put into the graph with the mean and deviation that the layer's output has on the training
images, so that at first the graph computes what it did, and folded into weight and bias at the end,
so that the graph is the old one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from reprune_onnx.analyzer.functions import written_out
from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.errors import ModelError
from reprune_onnx.model import size
from reprune_onnx.training.bridge import torch_module
from reprune_onnx.training.bridge.roots import is_root
from reprune_onnx.training.bridge.write import held_tensors, put
from reprune_onnx.training.feed import Feed
from reprune_onnx.types import Floats, Model

_EPS = 1e-5
_STEPS = 8  # batches that the statistics are measured on
_PARTS = ("scale", "shift", "mean", "var")


@dataclass(frozen=True)
class Inserted:
    """A BatchNormalization that was put behind the Conv with this weight, bias and output."""

    output: str
    weight: str
    bias: str

    def name(self, part: str) -> str:
        """The name of an inserted tensor."""
        return f"{self.output}.inserted_{part}"


def insert_batch_norm(
    model: Model, feed: Feed, fabric: Fabric, frozen: frozenset[str] = frozenset()
) -> tuple[Model, list[Inserted]]:
    """``model`` with a BatchNormalization behind every Conv that has a bias and none already.

    It computes what ``model`` does. A layer whose weight or bias is ``frozen`` gets none, which
    would change it. Raises ModelError where there is no such Conv.
    """
    model = written_out(model)
    places = [p for p in _places(Graph(model)) if not frozen & {p.weight, p.bias}]
    if not places:
        raise ModelError(
            "--batch-norm insert: no Conv with a bias of its own lacks a BatchNormalization;"
            " leave the option out"
        )
    statistics = _measure(model, [p.output for p in places], feed, fabric)
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    producers = {o: node for node in proto.graph.node for o in node.output}
    nodes = list(proto.graph.node)
    for place, (mean, var) in zip(places, statistics, strict=True):
        conv = producers[place.output]
        conv.output[0] = place.name("conv")
        values = dict(zip(_PARTS, (np.sqrt(var + _EPS), mean, mean, var), strict=True))
        for part, value in values.items():
            name = place.name(part)
            proto.graph.initializer.append(
                onnx.numpy_helper.from_array(value.astype(np.float32), name)
            )
            if proto.ir_version < 4:  # there, every initializer is also a graph input
                info = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, value.shape)
                proto.graph.input.append(info)
        inputs = [conv.output[0], *(place.name(part) for part in _PARTS)]
        new = onnx.helper.make_node(
            "BatchNormalization", inputs, [place.output], name=place.name("node"), epsilon=_EPS
        )
        nodes.insert(nodes.index(conv) + 1, new)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return Model(proto, model.path, model.sha256, size(proto)), places


def fold_batch_norm(model: Model, inserted: list[Inserted]) -> Model:
    """Undo `insert_batch_norm`: fold what was trained into weight and bias.

    Layers that were pruned since are folded as they are now.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    held = held_tensors(proto)
    gone: set[str] = set()
    for place in inserted:
        scale, shift, mean, var = (_value(held[place.name(p)]) for p in _PARTS)
        weight, bias = _value(held[place.weight]), _value(held[place.bias])
        factor = scale / np.sqrt(var + _EPS)
        put(held[place.weight], _single(weight * factor.reshape(-1, 1, *[1] * (weight.ndim - 2))))
        put(held[place.bias], _single((bias - mean) * factor + shift))
        gone.update(place.name(p) for p in _PARTS)
    nodes = [n for n in proto.graph.node if not gone.intersection(n.input)]
    renamed = {place.name("conv"): place.output for place in inserted}
    for node in nodes:
        node.output[:] = [renamed.get(o, o) for o in node.output]
    for field in (proto.graph.initializer, proto.graph.input):
        kept = [v for v in field if v.name not in gone]
        del field[:]
        field.extend(kept)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return Model(proto, model.path, model.sha256, size(proto))


def _places(graph: Graph) -> Iterator[Inserted]:
    for op in graph.ops:
        if op.type != "Conv" or not op.has(2) or op.outputs[0] in graph.derived:
            continue
        read_once = all(_read_once(graph, op, i) for i in (1, 2))
        normal = any(r.type.endswith("Normalization") for r in graph.readers(op.outputs[0]))
        if read_once and not normal and op.outputs[0] not in graph.outputs:
            yield Inserted(op.outputs[0], op.inputs[1], op.inputs[2])


def _read_once(graph: Graph, op: Op, i: int) -> bool:
    return is_root(graph, op.inputs[i]) and len(graph.readers(op.inputs[i])) == 1


def _measure(
    model: Model, outputs: list[str], feed: Feed, fabric: Fabric
) -> list[tuple[Floats, Floats]]:
    """Mean and variance of every channel of ``outputs``, over all processes' batches."""
    module = torch_module(model, outputs).to(fabric.device)
    sums: list[Tensor] = []
    batches = feed.epoch(0, 0)
    for _, (x, _) in zip(range(_STEPS), batches, strict=False):
        with torch.no_grad():
            result = module(x)
        values = result if isinstance(result, tuple) else (result,)
        new = [_moments(y) for y in values]
        sums = [a + b for a, b in zip(sums, new, strict=True)] if sums else new
    statistics = []
    for moments in sums:
        total = torch.as_tensor(fabric.all_reduce(moments, reduce_op="sum")).cpu().numpy()
        mean = total[1] / total[0]
        statistics.append((mean, np.maximum(total[2] / total[0] - mean**2, 0.0)))
    return statistics


def _moments(y: Tensor) -> Tensor:
    """Count, sum and sum of squares of every channel: (3, c) in float64."""
    columns = y.movedim(1, 0).flatten(1).double()
    count = torch.full((len(columns),), columns.shape[1], dtype=torch.float64, device=y.device)
    return torch.stack([count, columns.sum(1), (columns**2).sum(1)])


def _value(holder: onnx.TensorProto | onnx.AttributeProto) -> Floats:
    if isinstance(holder, onnx.AttributeProto):
        return np.array(onnx.helper.get_attribute_value(holder), dtype=np.float64)
    return onnx.numpy_helper.to_array(holder).astype(np.float64)


def _single(value: Floats) -> NDArray[np.float32]:
    return value.astype(np.float32)
