"""A float16 file as it computes: every result rounded to float16, overflow included."""

from __future__ import annotations

import numpy as np
import onnx

from reprune_onnx.precision import as_float32
from reprune_onnx.runtime.ort import Session

_HALF, _SINGLE = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT


def rounded(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return a float32 copy of a float16 file that rounds what every node makes to float16.

    ONNX Runtime's CPU runs most float16 nodes in float32 and leaves out the roundings between them,
    so a result that overflows passes; a Cast there and back cannot be left out. Within a node
    nothing is rounded: a GPU adds up the products of a convolution or a matrix in float32 too.
    Bodies of If, Loop and Scan are not rounded within.
    """
    made = [name for node in proto.graph.node for name in node.output if name]
    types = {o.name: o.dtype for o in Session(proto, optimize=False, outputs=made).outputs}
    copy = as_float32(proto, {_HALF})
    nodes = []
    for node in copy.graph.node:
        nodes.append(node)
        for i, name in enumerate(node.output):
            if types.get(name) == np.float16:
                node.output[i] = f"{name}<exact>"
                half = f"{name}<float16>"
                nodes.append(onnx.helper.make_node("Cast", [f"{name}<exact>"], [half], to=_HALF))
                nodes.append(onnx.helper.make_node("Cast", [half], [name], to=_SINGLE))
    kept = [_copied(node) for node in nodes]
    del copy.graph.node[:]
    copy.graph.node.extend(kept)
    return copy


def _copied(node: onnx.NodeProto) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy
