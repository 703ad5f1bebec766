"""A judge of cuts in branches of If that knows nothing of labels, nor of how they are opened."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper

_STEP = re.compile(r"^(.+?)\.(then_branch|else_branch)/")


def tensor(proto: onnx.ModelProto, name: str) -> onnx.TensorProto:
    """A stored tensor by the name that a report gives it: the path to its body, then its own."""
    graph = proto.graph
    while step := _STEP.match(name):
        node = next(n for n in graph.node if n.output and n.output[0] == step[1])
        graph = next(a.g for a in node.attribute if a.name == step[2])
        name = name[step.end() :]
    for node in graph.node:
        if node.op_type == "Constant" and node.output[0] == name:
            return node.attribute[0].t
    return next(t for t in graph.initializer if t.name == name)


def masked(proto: onnx.ModelProto, report: dict[str, Any]) -> onnx.ModelProto:
    """The original with the slices zeroed that read what went: axis 1 of the weights of Conv."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for cut in report["cuts"]:
        stored = tensor(copy, cut["initializer"])
        if cut["axis"] == 1 and len(stored.dims) == 4:
            array = numpy_helper.to_array(stored).copy()
            array[:, np.setdiff1d(np.arange(array.shape[1]), cut["keep"])] = 0
            stored.CopyFrom(numpy_helper.from_array(array, stored.name))
    return copy


def run(proto: onnx.ModelProto, **inputs: Any) -> list[np.ndarray]:
    """The outputs, by ONNX Runtime as users run it."""
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, {name: np.asarray(value) for name, value in inputs.items()}))


def difference(a: list[np.ndarray], b: list[np.ndarray]) -> float:
    """The largest difference, relative to the largest magnitude of its output."""
    assert [x.shape for x in a] == [x.shape for x in b]
    return max(float(np.abs(x - y).max() / np.abs(x).max()) for x, y in zip(a, b, strict=True))


def structure(graph: onnx.GraphProto) -> list[Any]:
    """Names of everything, bodies within bodies, without values and shapes."""
    return [
        *sorted(t.name for t in graph.initializer),
        *((o.name, o.type.tensor_type.elem_type) for o in graph.output),
        *(
            (
                n.op_type,
                n.name,
                *n.input,
                *n.output,
                [(a.name, structure(a.g)) for a in n.attribute if a.HasField("g")],
            )
            for n in graph.node
        ),
    ]
