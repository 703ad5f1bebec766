"""The element type of an activation is read off the nodes before it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, parser

import reprune_onnx as rp
from reprune_onnx.analyzer.graph import Graph


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("a = Relu (x)", TensorProto.FLOAT16),
        ("b = Relu (x) a = Concat <axis = 0> (b, x)", TensorProto.FLOAT16),
        ("a = Cast <to = 11> (x)", TensorProto.DOUBLE),
        ("a = Shape (x)", TensorProto.INT64),
        ("v, a = TopK (x, k)", TensorProto.INT64),
        ("a, i = TopK (x, k)", TensorProto.FLOAT16),
        ("b = Greater (x, x) a = Not (b)", TensorProto.BOOL),
        (
            "b = Constant <value = int32 {2}> () i = Cast <to = 6> (x) a = Mul (b, i)",
            TensorProto.INT32,
        ),
        ("b = Cast <to = 10> (x) a = CastLike (x, b)", TensorProto.FLOAT16),
    ],
)
def test_a_constant_is_cast_to_the_type_of_an_activation(body: str, wanted: int) -> None:
    graph = graph_of(f"{body} y = CastLike (one, a)")

    assert graph.is_constant("y")
    assert graph.element_type("y") == wanted
    assert graph.array("y") == np.asarray(1)


@pytest.mark.parametrize(
    "made",
    [
        "a = other.Magic (x)",
        "a = EyeLike <dtype = 6> (x)",
        "b = Cast <to = 9> (x) a = If (b) <then_branch = yes () => (float16[8] t)"
        " { t = Relu (x) }, else_branch = no () => (float16[8] e) { e = Abs (x) }>",
    ],
)
def test_where_the_type_is_not_known_nothing_is_made_up(made: str) -> None:
    graph = graph_of(f"{made} y = CastLike (one, a)")

    assert not graph.is_constant("y")


def graph_of(body: str) -> Graph:
    header = '<ir_version: 8, opset_import: ["" : 17, "other" : 1]>'
    given = "<int32 one = {1}, int64[1] k = {1}>"
    body = f"{body} out = other.Magic (y)"
    text = f"{header} g (float16[8] x) => (float16[] out) {given} {{ {body} }}"
    proto = parser.parse_model(text)
    assert isinstance(proto, onnx.ModelProto)
    return Graph(rp.Model(proto))
