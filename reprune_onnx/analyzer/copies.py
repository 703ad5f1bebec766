"""Parameters of BatchNormalization that a file holds once for several nodes, by way of Identity.

PyTorch's TorchScript exporter writes parameters of equal values once, as those of layers that were
never trained, and gives every other reader an Identity of them. Training makes them differ.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import onnx

from reprune_onnx.types import Model

_PARAMETERS = slice(1, 5)  # scale, bias, mean, variance


def stored(proto: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """The tensors that the file holds by name: initializers, and those of Constant nodes."""
    constants = {
        node.output[0]: attribute.t
        for node in proto.graph.node
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx") and node.output
        for attribute in node.attribute
        if attribute.name == "value" and attribute.HasField("t")
    }
    return constants | {t.name: t for t in proto.graph.initializer}


def copies(proto: onnx.ModelProto) -> dict[str, str]:
    """BatchNormalization inputs that are the Identity of a stored tensor: ``{name: its name}``."""
    held = stored(proto)
    origin: dict[str, str] = {}
    read: set[str] = set()
    for node in proto.graph.node:
        if node.domain not in ("", "ai.onnx"):
            continue
        if node.op_type == "Identity":
            source = origin.get(node.input[0], node.input[0])
            if source in held:
                origin[node.output[0]] = source
        elif node.op_type == "BatchNormalization":
            read.update(node.input[_PARAMETERS])
    return {name: source for name, source in origin.items() if name in read}


def unshared(proto: onnx.ModelProto, names: Collection[str]) -> onnx.ModelProto:
    """A model in which the copies ``names`` have values of their own; ``proto`` itself without any.

    They become initializers, as where they are cut, or Constants before IR 4, where an initializer
    would be one more input of the graph.
    """
    if not names:
        return proto
    origin = copies(proto)
    apart = onnx.ModelProto()
    apart.CopyFrom(proto)
    held = stored(proto)
    for node in [n for n in apart.graph.node if n.op_type == "Identity" and n.output[0] in names]:
        tensor = onnx.TensorProto()
        tensor.CopyFrom(held[origin[node.output[0]]])
        tensor.name = node.output[0]
        if proto.ir_version < 4:
            del node.input[:], node.attribute[:]
            node.op_type = "Constant"
            node.attribute.append(onnx.helper.make_attribute("value", tensor))
        else:
            apart.graph.node.remove(node)
            apart.graph.initializer.append(tensor)
    return apart


def with_own_parameters(model: Model) -> Model:
    """The model in which no BatchNormalization reads a copy of what another one reads."""
    proto = unshared(model.proto, copies(model.proto))
    return model if proto is model.proto else replace(model, proto=proto)
