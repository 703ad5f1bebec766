"""Files of networks as the tests of training look at them."""

import numpy as np
import onnx
from onnx.numpy_helper import to_array

PRE = ("--preprocess", "scale=1/16")


def weights(path) -> dict[str, np.ndarray]:
    return {t.name: to_array(t) for t in onnx.load(path).graph.initializer}


def fold(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Fold every BatchNormalization into the Conv before it, as exporters do."""
    held = {t.name: t for t in proto.graph.initializer}
    producer = {o: n for n in proto.graph.node for o in n.output}
    for bn in [n for n in proto.graph.node if n.op_type == "BatchNormalization"]:
        conv = producer[bn.input[0]]
        scale, shift, mean, var = (to_array(held[i]).astype(np.float64) for i in bn.input[1:])
        epsilon = next((a.f for a in bn.attribute if a.name == "epsilon"), 1e-5)
        factor = scale / np.sqrt(var + epsilon)
        w = to_array(held[conv.input[1]]) * factor[:, None, None, None]
        held[conv.input[1]].CopyFrom(
            onnx.numpy_helper.from_array(w.astype(np.float32), conv.input[1])
        )
        bias = onnx.numpy_helper.from_array((shift - mean * factor).astype(np.float32), bn.input[2])
        held[bn.input[2]].CopyFrom(bias)
        conv.input.append(bn.input[2])
        conv.output[0] = bn.output[0]
        proto.graph.node.remove(bn)
    used = {i for n in proto.graph.node for i in n.input}
    for name in set(held) - used:
        proto.graph.initializer.remove(held[name])
    return proto
