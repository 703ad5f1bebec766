"""The axis of an output (N, ·, ·, ·) that holds the classes, first or last, as its nodes tell."""

from __future__ import annotations

import onnx

from reprune_onnx.analyzer.op_kinds import ARITHMETIC, CONVOLUTIONS, RESIZING, SAME_NUMBERS
from reprune_onnx.attributes import attribute
from reprune_onnx.shapes import Layout

_FIRST = {  # what they make has channels at axis 1, in all of ONNX
    *CONVOLUTIONS,
    *("AveragePool", "MaxPool", "GlobalAveragePool", "LpPool"),
    *("BatchNormalization", "InstanceNormalization", "GroupNormalization", "LRN"),
    *("DepthToSpace", "SpaceToDepth", "QLinearConv", "ConvInteger", "MaxUnpool"),
}
_SAME = {  # axes stay what they are
    *ARITHMETIC,
    *RESIZING,
    *SAME_NUMBERS,
    *("Clip", "Concat", "DequantizeLinear", "Elu", "Gelu", "HardSigmoid", "HardSwish"),
    *("LeakyRelu", "Pad", "PRelu", "QuantizeLinear", "Relu", "Sigmoid", "Slice", "Tanh"),
}
_CHOICES = {"ArgMax", "Softmax", "LogSoftmax", "Hardmax"}
_LAYOUTS: dict[int, Layout] = {1: "nchw", 3: "nhwc"}


def layout_of(proto: onnx.ModelProto, output: str, otherwise: Layout) -> Layout:
    """Return the layout of an output of rank 4; ``otherwise`` where its nodes do not tell.

    The classes are what an ArgMax or a Softmax over one axis is taken over; the channels of a Conv
    or a pooling, which are first, and the columns of a MatMul, which are last, wherever Transposes
    put them. A file may take its images with channels first and give its maps with channels last.
    """
    makers = {name: node for node in proto.graph.node for name in node.output if name}
    places = [0, 1, 2, 3]  # the axis of the tensor that each axis of the output is
    name = output
    while (node := makers.get(name)) is not None:
        axis: int | None = None
        if node.op_type == "Transpose":
            perm = list(attribute(node, "perm", [3, 2, 1, 0]))
            if len(perm) != len(places):
                return otherwise
            places = [perm[place] for place in places]
        elif node.op_type in _FIRST:
            axis = 1
        elif node.op_type == "MatMul" and node.input[1] not in makers:
            axis = 3
        elif node.op_type in _CHOICES and (taken := attribute(node, "axis", None)) is not None:
            axis = taken % len(places)
        elif node.op_type not in _SAME | _CHOICES:
            return otherwise
        if axis is not None:
            return _LAYOUTS.get(places.index(axis), otherwise)
        name = next((i for i in node.input if i in makers), "")
    return otherwise
