"""Constants and integers that the graph computes: what becomes of them, and of what made them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from tiny_cuts import arrays, cut_to, network, node

import reprune_onnx as rp
from reprune_onnx.analyzer import channels_of, graph_of
from reprune_onnx.results import Cut, Rewrite
from reprune_onnx.surgeon import cut

RNG = np.random.default_rng(5)


def ops(result: Cut) -> list[str]:
    return [n.op_type for n in result.model.proto.graph.node]


@pytest.mark.parametrize(
    ("window", "extents"),
    [
        ("", [4, 4, 1, 1]),
        ("<start = 1>", [4, 1, 1]),
        ("<start = -3, end = -1>", [4, 1]),
        ("<start = 4>", []),
    ],
)
def test_the_shape_of_a_weight_stays_what_it_was(window: str, extents: list[int]) -> None:
    proto = network(
        f"c = Conv (x, c_w)\n y = Conv (c, d_w)\n s = Shape {window} (d_w)",
        "float[n,k,h,w] y, int64[m] s",
    )
    proto.graph.node[2].name = "measure"

    result = cut_to(proto, c=[1, 3])

    assert arrays(result)["d_w"].shape == (4, 2, 1, 1)
    made = node(result, "s")
    assert (made.op_type, made.name, list(made.input)) == ("Constant", "measure", [])
    (value,) = made.attribute
    array = numpy_helper.to_array(value.t)
    assert (value.name, value.t.name, array.tolist()) == ("value", "s", extents)
    assert array.dtype == np.int64
    assert result.rewrites == ()


def test_the_shape_of_another_weight_is_still_computed() -> None:
    outputs = "float[n,k,h,w] y, int64[m] s"
    proto = network(
        "c = Conv (x, c_w)\n d = Conv (c, d_w)\n y = Conv (d, e_w)\n s = Shape (e_w)", outputs
    )

    assert ops(cut_to(proto, c=[1, 3])) == ["Conv", "Conv", "Conv", "Shape"]


PARTED = """a, b = Split <axis = 0> (w, sizes)  c = Conv (x, a)  d = Conv (x, b)
  e = Conv (c, head)  f = Conv (d, head2)  y = Add (e, f)"""


def parted(ir: int) -> onnx.ModelProto:
    w, head2 = RNG.standard_normal((8, 3, 1, 1)), RNG.standard_normal((2, 4, 1, 1))
    proto = network(PARTED, ir=ir, w=w, head2=head2, sizes=np.array([4, 4]))
    for tensor in proto.graph.initializer if ir < 4 else ():
        info = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        proto.graph.input.append(info)
    return proto


def test_one_of_two_outputs_is_written_down() -> None:
    proto = parted(ir=8)

    result = cut_to(proto, c=[1, 3])

    assert [list(n.output) for n in result.model.proto.graph.node[:2]] == [["", "b"], ["c"]]
    tensors = arrays(result)
    assert set(tensors) == {"w", "sizes", "head", "head2", "a"}
    np.testing.assert_array_equal(tensors["a"], tensors["w"][[1, 3]])


def test_both_of_two_outputs_are_written_down() -> None:
    proto = parted(ir=8)
    proto.graph.node[2].input.append("")  # a bias left out is no reader of an output left out

    result = cut_to(proto, c=[1, 3], d=[0])

    assert "Split" not in ops(result)
    assert set(arrays(result)) == {"head", "head2", "a", "b"}


def test_where_an_initializer_is_an_input_a_part_is_copied() -> None:
    result = cut_to(parted(ir=3), c=[1, 3])

    assert list(node(result, "c").input) == ["x", "a_pruned"]
    assert arrays(result)["a_pruned"].shape == (2, 3, 1, 1)
    assert list(node(result, "b").output) == ["a", "b"]
    assert [(k.initializer, k.source) for k in result.cuts] == [("a_pruned", "a"), ("head", None)]


@pytest.mark.parametrize("ir", [3, 4])
def test_a_weight_becomes_a_constant_node_where_initializers_are_inputs(ir: int) -> None:
    body = "v = Mul (c_w, two)\n c = Conv (x, v)\n y = Conv (c, head)"
    proto = network(body, ir=ir, two=np.array([2.0]))
    for tensor in proto.graph.initializer:
        info = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        proto.graph.input.append(info)
    weight = numpy_helper.to_array(proto.graph.initializer[0])

    result = cut_to(proto, c=[1, 3])

    assert {"c_w", "two"} <= set(arrays(result)), "they are inputs: a caller may give them"
    if ir == 3:
        assert (node(result, "v").op_type, list(node(result, "v").input)) == ("Constant", [])
        tensors = numpy_helper.to_array(node(result, "v").attribute[0].t)
    else:
        assert ops(result) == ["Conv", "Conv"]
        tensors = arrays(result)["v"]
    np.testing.assert_array_equal(tensors, 2 * weight[[1, 3]])


CHAIN = """p = Mul (w, two)  q = Neg (p)  v = Neg (q)  c = Conv (x, v)  y = Conv (c, head)
  idle = Neg (w2)"""


@pytest.mark.parametrize("stated", [True, False], ids=["shape stated", "not stated"])
def test_a_chain_of_nodes_goes_and_what_was_idle_before_stays(stated: bool) -> None:
    w = RNG.standard_normal((4, 3, 1, 1))
    more = {"two": np.ones(1) * 2, "w2": np.ones(3), "unread": np.ones(2)}
    proto = network(CHAIN, w=w, **more)
    (declared,) = (v for v in proto.graph.value_info if v.name == "v")
    if not stated:
        declared.type.tensor_type.ClearField("shape")

    result = cut_to(proto, c=[1, 3])

    assert ops(result) == ["Conv", "Conv", "Neg"]
    assert set(arrays(result)) == {"v", "head", "w2", "unread"}


def test_what_another_constant_is_computed_from_stays() -> None:
    w = RNG.standard_normal((4, 3, 1, 1))
    body = CHAIN.replace("idle = Neg (w2)", "m = ReduceMax <keepdims = 0> (p)")
    body = body.replace("y = Conv (c, head)", "t = Conv (c, head)") + " y = Add (t, m)"

    result = cut_to(network(body, w=w, two=np.ones(1) * 2), c=[1, 3])

    assert ops(result) == ["Mul", "Conv", "Conv", "ReduceMax", "Add"]
    assert set(arrays(result)) == {"v", "head", "w", "two"}


def test_what_only_the_body_of_a_node_reads_stays() -> None:
    w = RNG.standard_normal((4, 3, 1, 1))
    body = """p = Neg (w)  v = Neg (p)  c = Conv (x, v)  z = Conv (c, head)
      m = ReduceMax <keepdims = 0> (x)  q = Cast <to = 9> (m)
      b = If (q) <then_branch = yes () => (float s) { s = ReduceMax <keepdims = 0> (p) },
        else_branch = no () => (float t) { t = ReduceMin <keepdims = 0> (p) }>
      y = Add (z, b)"""

    result = cut_to(network(body, w=w), c=[1, 3])

    assert ops(result) == ["Neg", "Conv", "Conv", "ReduceMax", "Cast", "If", "Add"]
    assert set(arrays(result)) == {"v", "head", "w"}


def test_an_initializer_that_is_an_input_stays() -> None:
    proto = network("v = Neg (c_w)\n c = Conv (x, v)\n y = Conv (c, head)")
    proto.graph.input.append(helper.make_tensor_value_info("c_w", 1, [4, 3, 1, 1]))

    result = cut_to(proto, c=[1, 3])

    assert ops(result) == ["Conv", "Conv"]
    assert set(arrays(result)) == {"v", "head", "c_w"}


HALVED = """c = Conv (x, c_w)  s = Shape (c)  n = Slice (s, one, two)  h = Div (n, two)
  [left] l = Slice (c, zero, h, one)  [right] r = Slice (c, h, n, one)
  z = Concat <axis = 1> (r, l)  d = Conv (z, d_w)  y = Conv (d, head)"""
NUMBERS = {"zero": np.array([0]), "one": np.array([1]), "two": np.array([2])}


def test_numbers_that_would_not_follow_are_written_down() -> None:
    result = cut_to(network(HALVED, **NUMBERS), c=[0, 2, 3])

    assert list(node(result, "l").input) == ["c", "zero", "h_pruned", "one"]
    assert list(node(result, "r").input) == ["c", "h_pruned2", "n", "one"]
    tensors = arrays(result)
    for name in ("h_pruned", "h_pruned2"):
        assert (tensors[name].tolist(), tensors[name].dtype) == ([1], np.int64)
    assert result.rewrites == (Rewrite("left", True, None, [1]), Rewrite("right", True, None, [1]))


def test_numbers_of_other_channels_are_not_written_down() -> None:
    result = cut_to(network(HALVED, **NUMBERS), d=[0, 2, 3])

    assert result.rewrites == ()
    assert set(arrays(result)) == {"c_w", "d_w", "head", "zero", "one", "two"}


def test_an_index_in_a_constant_node_follows() -> None:
    proto = network(
        "i = Constant <value_int = 3> ()\n c = Conv (x, c_w)\n p = Gather <axis = 1> (c, i)\n"
        "u = Unsqueeze (p, one)\n y = Conv (c, head)\n z = Add (u, u)",
        "float[n,k,h,w] y, float[n,m,h,w] z",
        one=np.array([1]),
    )

    result = cut_to(proto, c=[1, 3])

    assert node(result, "i").attribute[0].i == 1
    assert result.rewrites == (Rewrite("i", False, [3], [1]),)


def test_shapes_follow_where_channels_are_on_two_axes() -> None:
    body = """c = Conv (x, c_w)  a = Reshape (c, five)  b = Transpose <perm = [0,2,1,3,4]> (a)
      z = Reshape (b, four)  y = Conv (z, head)"""
    shapes = {"five": np.array([1, 2, 2, 8, 8]), "four": np.array([1, 4, 8, 8])}

    graph = cut_to(network(body, **shapes), c=[2, 3]).model.proto.graph

    declared = {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in graph.value_info
    }
    assert declared == {
        "c": [1, 2, 8, 8],
        "a": [1, 1, 2, 8, 8],
        "b": [1, 2, 1, 8, 8],
        "z": [1, 2, 8, 8],
    }


@pytest.mark.parametrize("kept", [[0, 1, 2, 3], [1, 3]])
def test_the_model_knows_its_file(kept: list[int]) -> None:
    model = rp.Model(network("c = Conv (x, c_w)\n y = Conv (c, head)"), Path("net.onnx"))
    graph = graph_of(model)
    channels = channels_of(graph, rp.Scope())
    keep = np.ones(channels.n_units, dtype=np.bool_)
    keep[channels.layers[0].out_ids] = np.isin(np.arange(4), kept)

    assert cut(model, graph, channels, keep).model.path == Path("net.onnx")
