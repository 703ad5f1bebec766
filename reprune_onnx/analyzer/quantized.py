"""Nodes of quantized models, which stand between a weight and its layer.

Rounding makes steps, so that a cut of such a model could not be compared with anything.
"""

from __future__ import annotations

from collections import Counter

import onnx

from reprune_onnx.bodies import with_bodies

QUANTIZED = {
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "QLinearConv",
    "QLinearMatMul",
    "ConvInteger",
    "MatMulInteger",
}
_OF_MICROSOFT = {
    *("DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "MatMulIntegerToFloat", "MatMulInteger16"),
    *("MatMulNBits", "MatMulBnb4", "MatMulFpQ4", "GatherBlockQuantized", "QAttention", "QGemm"),
    *("QLinearAdd", "QLinearAveragePool", "QLinearConcat", "QLinearGlobalAveragePool"),
    *("QLinearLeakyRelu", "QLinearMul", "QLinearReduceMean", "QLinearSigmoid", "QLinearSoftmax"),
    *("QLinearWhere", "QLinearConv", "QOrderedMatMul", "QOrderedAttention"),
}


def quantized_nodes(proto: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes that compute in whole numbers, those of bodies and local functions too.

    That an input is in whole numbers, such as the bytes of an image, makes nothing of the model so:
    a DequantizeLinear of an input is none of them.
    """
    given = {i.name for i in proto.graph.input} - {t.name for t in proto.graph.initializer}
    parts = [proto.graph.node, *(f.node for f in proto.functions)]
    nodes = [node for part in parts for node in with_bodies(part)]
    return [n for n in nodes if _is_one(n) and not _reads_input(n, given)]


def counted(nodes: list[onnx.NodeProto]) -> str:
    """The nodes as a sentence counts them.

    >>> node = onnx.helper.make_node("QuantizeLinear", ["x", "s"], ["q"], name="/in/q")
    >>> counted([node, node])
    "2 QuantizeLinear nodes, such as '/in/q'"
    """
    counts = Counter(node.op_type for node in nodes)
    *most, last = [f"{n} {kind}" for kind, n in counts.items()]
    listed = f"{', '.join(most)} and {last}" if most else last
    noun = "node" if len(nodes) == 1 else "nodes"
    return f"{listed} {noun}, such as '{nodes[0].name or nodes[0].output[0]}'"


def _is_one(node: onnx.NodeProto) -> bool:
    return node.op_type in QUANTIZED or (
        node.domain == "com.microsoft" and node.op_type in _OF_MICROSOFT
    )


def _reads_input(node: onnx.NodeProto, given: set[str]) -> bool:
    return node.op_type == "DequantizeLinear" and node.input[0] in given
