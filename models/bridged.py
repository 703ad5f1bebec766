"""The backbone of a detector's file as a PyTorch module inside the detector, and back."""

from __future__ import annotations

import fnmatch
from collections import OrderedDict
from collections.abc import Mapping

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from models import maskrcnn, ssd
from models.checkpoint import COUNTER
from models.schedules import Schedule
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.errors import ModelError
from reprune_onnx.training.bridge import OnnxModule, torch_module, write_back
from reprune_onnx.training.bridge.write import held_tensors, put
from reprune_onnx.types import Model

BACKBONE = "*backbone*"


def part(model: Model, glob: str = BACKBONE) -> Model:
    """The nodes whose names match ``glob``, as a model of their own with the same tensor names.

    Its input is the one tensor that they read from outside, its outputs those that others read.
    Raises ModelError where there are no such nodes, or they read several tensors.
    """
    graph = Graph(model)
    inside = {op.index for op in graph.ops if fnmatch.fnmatchcase(op.name, glob)}
    layers = [graph.ops[i] for i in sorted(inside) if graph.ops[i].type == "Conv"]
    if not layers:
        raise ModelError(f"no Conv of the model is called '{glob}'")
    made = {name for i in inside for name in graph.ops[i].outputs}
    entries = {op.inputs[0] for op in layers} - made
    if len(entries) != 1:
        raise ModelError(f"what is called '{glob}' reads {len(entries)} tensors, not 1")
    (entry,) = entries
    outputs = _left(graph, inside)
    needed: set[int] = set()
    stack = list(outputs)
    while stack:
        op = graph.producer(stack.pop())
        if op is not None and op.index not in needed:
            needed.add(op.index)
            stack += [name for name in op.inputs if name and name != entry]
    nodes = [graph.ops[i].proto for i in sorted(needed)]
    names = {name for node in nodes for name in node.input}
    proto = onnx.helper.make_model(
        onnx.helper.make_graph(
            nodes,
            "part",
            [onnx.helper.make_tensor_value_info(entry, onnx.TensorProto.FLOAT, [None] * 4)],
            [onnx.ValueInfoProto(name=name) for name in outputs],
            [t for t in model.proto.graph.initializer if t.name in names],
        ),
        opset_imports=model.proto.opset_import,
    )
    proto.ir_version = model.proto.ir_version
    return Model(proto)


def _left(graph: Graph, inside: set[int]) -> list[str]:
    """The activations that nodes ``inside`` make and others read, by name."""
    read = {name for op in graph.ops if op.index not in inside for name in op.inputs}
    read |= set(graph.outputs)
    return sorted(
        name
        for i in inside
        for name in graph.ops[i].outputs
        if name in read and not graph.is_constant(name) and graph.ops[i].type != "Shape"
    )


class Bridged(nn.Module):
    """A backbone that computes the nodes of a file: features, or a pyramid of them."""

    out_channels = 256

    def __init__(self, inner: OnnxModule, schedule: Schedule) -> None:
        super().__init__()
        self.schedule = schedule
        self.adopt(inner)

    def adopt(self, inner: OnnxModule) -> None:
        """Compute ``inner`` from now on, in the mode that the backbone is in."""
        self.inner = inner
        for name, parameter in inner.named_parameters():
            frozen = any(fnmatch.fnmatchcase(name, glob) for glob in self.schedule.frozen)
            parameter.requires_grad_(not frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> Bridged:
        """Switch; statistics that stay are used in training too."""
        super().train(mode)
        self.inner.train(mode and self.schedule.batch_norm)
        return self

    def forward(self, images: Tensor) -> Tensor | OrderedDict[str, Tensor]:
        """The features, or those of each level as torchvision's pyramid names them."""
        features = self.inner(images)
        if isinstance(features, Tensor):
            return features
        levels = sorted(features, key=lambda y: -y.shape[2] * y.shape[3])
        names = (*map(str, range(len(levels) - 1)), "pool")
        return OrderedDict(zip(names, levels, strict=True))


def detector_of(model: Model, schedule: Schedule, options: Mapping[str, int]) -> nn.Module:
    """The PyTorch detector that has the file's backbone and the file's heads.

    Which one it is, is told by its heads; ``options`` are torchvision's, of Mask R-CNN. Raises
    ModelError where the file lacks a tensor of the heads.
    """
    held = {
        name: torch.from_numpy(numpy_helper.to_array(value).copy())
        for name, value in held_tensors(model.proto).items()
        if isinstance(value, onnx.TensorProto)
    }
    proposes = "rpn.head.bbox_pred.weight" in held
    net = maskrcnn.maskrcnn(**options) if proposes else ssd.SSD300()
    net.backbone = Bridged(torch_module(part(model)), schedule)
    for name, value in net.state_dict().items():
        if name.startswith("backbone.") or name.endswith(COUNTER):
            continue
        if name not in held or held[name].shape != value.shape:
            raise ModelError(f"the file has no tensor '{name}' of shape {list(value.shape)}")
        value.copy_(held[name])
    return net


def written(model: Model, net: nn.Module) -> Model:
    """``model`` with the backbone and the heads of ``net``, which `detector_of` made of it."""
    assert isinstance(net.backbone, Bridged)
    trained = write_back(model, net.backbone.inner)
    held = held_tensors(trained.proto)
    for name, value in net.state_dict().items():
        if not name.startswith("backbone.") and not name.endswith(COUNTER):
            put(held[name], value.detach().cpu().numpy(), name)
    return trained
