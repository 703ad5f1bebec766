"""Which tensors a cut edits, under which name they are found, and what is recorded."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper, numpy_helper
from tiny_cuts import arrays, cut_to, network, node

BIAS = np.array([1.0, 2.0, 3.0, 4.0])


def test_nothing_changes_where_everything_is_kept() -> None:
    proto = network("c = Conv (x, c_w)\n y = Conv (c, head)")

    result = cut_to(proto, c=[0, 1, 2, 3])

    assert result.model.proto == proto
    assert (result.cuts, result.rewrites) == ((), ())


def test_uses_that_need_the_same_share_one_tensor() -> None:
    body = "c = Conv (x, c_w, bias)\n d = Conv (c, d_w, bias)\n e = Conv (d, e_w, bias)"
    proto = network(f"{body}\n y = Conv (e, head)", bias=BIAS)

    result = cut_to(proto, c=[1, 3], d=[0, 1, 2], e=[1, 3])

    tensors = arrays(result)
    assert [node(result, o).input[2] for o in "cde"] == ["bias", "bias_pruned", "bias"]
    assert tensors["bias"].tolist() == [2.0, 4.0]
    assert tensors["bias_pruned"].tolist() == [1.0, 2.0, 3.0]
    cuts = [(c.initializer, c.axis, c.keep.tolist(), c.source) for c in result.cuts]
    assert cuts == [
        ("c_w", 0, [1, 3], None),
        ("bias", 0, [1, 3], None),
        ("bias_pruned", 0, [0, 1, 2], "bias"),
        ("d_w", 0, [0, 1, 2], None),
        ("d_w", 1, [1, 3], None),
        ("e_w", 0, [1, 3], None),
        ("e_w", 1, [0, 1, 2], None),
        ("head", 1, [1, 3], None),
    ]


def test_a_copy_takes_the_first_name_that_is_free() -> None:
    body = "bias_pruned = Conv (x, c_w, bias)\n bias_pruned2 = Conv (bias_pruned, d_w, bias)"
    proto = network(
        f"{body}\n y = Conv (bias_pruned2, head, bias_pruned3)", bias=BIAS, bias_pruned3=np.ones(2)
    )

    result = cut_to(proto, bias_pruned=[1, 3])

    assert list(node(result, "bias_pruned").input) == ["x", "c_w", "bias_pruned4"]
    assert arrays(result)["bias_pruned4"].tolist() == [2.0, 4.0]
    assert arrays(result)["bias"].tolist() == BIAS.tolist()


def test_a_copy_does_not_take_the_name_of_an_input() -> None:
    proto = network("c = Conv (x, c_w, bias)\n y = Conv (c, d_w, bias)", bias=BIAS)
    proto.graph.input.add().CopyFrom(helper.make_tensor_value_info("bias_pruned", 1, [1]))

    result = cut_to(proto, c=[1, 3])

    assert node(result, "c").input[2] == "bias_pruned2"


def test_a_second_copy_has_a_name_of_its_own() -> None:
    body = "c = Conv (x, c_w, bias)\n d = Conv (c, d_w, bias)\n y = Conv (d, e_w, bias)"
    proto = network(body, bias=BIAS)

    result = cut_to(proto, c=[1, 3], d=[0])

    assert [node(result, o).input[2] for o in "cdy"] == ["bias_pruned", "bias_pruned2", "bias"]


IF = """b = If (yes) <then_branch = so () => (float[4] s) { s = Relu (bias) },
  else_branch = not () => (float[4] t) { t = Neg (bias) }>"""
CONVS = "c = Conv (x, c_w)\n d = Conv (c, d_w, bias)"


@pytest.mark.parametrize("body", [f"{CONVS} {IF}", f"{IF} {CONVS}"], ids=["before", "behind"])
def test_what_the_body_of_a_node_reads_stays_whole(body: str) -> None:
    ends = "z = Conv (d, head)  n = ReduceMax <keepdims = 0> (b)  y = Add (z, n)"
    proto = network(f"{body} {ends}", bias=BIAS, yes=np.array(True))

    result = cut_to(proto, d=[1, 3])

    assert node(result, "d").input[2] == "bias_pruned"
    assert arrays(result)["bias_pruned"].tolist() == [2.0, 4.0]
    assert arrays(result)["bias"].tolist() == BIAS.tolist()


def test_an_output_of_the_graph_stays_whole() -> None:
    proto = network(
        "k = Constant <value_floats = [1.0, 2.0, 3.0, 4.0]> ()\n"
        "c = Conv (x, c_w, k)\n y = Conv (c, head)",
        "float[n,k,h,w] y, float[4] k",
    )

    result = cut_to(proto, c=[1, 3])

    assert node(result, "c").input[2] == "k_pruned"
    assert arrays(result)["k_pruned"].tolist() == [2.0, 4.0]
    assert list(node(result, "k").attribute[0].floats) == BIAS.tolist()


def test_every_kind_of_constant_node_is_cut_where_it_is() -> None:
    proto = network(
        "k = Constant <value_floats = [1.0, 2.0, 3.0, 4.0]> ()\n"
        "sizes = Constant <value_ints = [1, 3]> ()\n"
        "c = Conv (x, c_w, k)\n l, r = Split <axis = 1> (c, sizes)\n"
        "z = Concat <axis = 1> (l, r)\n y = Conv (z, w)"
    )
    weight = numpy_helper.from_array(np.ones((2, 4, 1, 1), np.float32), "inside")
    proto.graph.node.insert(0, helper.make_node("Constant", [], ["w"], value=weight))
    proto.graph.node[0].doc_string = "words"

    result = cut_to(proto, c=[0, 1, 3])

    assert list(node(result, "k").attribute[0].floats) == [1.0, 2.0, 4.0]
    assert list(node(result, "sizes").attribute[0].ints) == [1, 2]
    tensor = node(result, "w").attribute[0].t
    assert (list(tensor.dims), tensor.name) == ([2, 3, 1, 1], "inside")
    assert node(result, "w").doc_string == "words"
    assert set(arrays(result)) == {"c_w"}


def test_declared_shapes_of_initializers_that_are_inputs_follow() -> None:
    proto = network("c = Conv (x, c_w, bias)\n y = Conv (c, head)", ir=3, bias=BIAS)
    for tensor in proto.graph.initializer:
        info = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        proto.graph.input.append(info)
    proto.graph.input[1].type.tensor_type.shape.dim[0].dim_param = "n"

    result = cut_to(proto, c=[0, 1, 3])

    declared = {
        i.name: [d.dim_param or d.dim_value for d in i.type.tensor_type.shape.dim]
        for i in result.model.proto.graph.input
    }
    assert declared == {
        "x": [1, 3, 8, 8],
        "c_w": ["n", 3, 1, 1],
        "head": [2, 3, 1, 1],
        "bias": [3],
    }


def test_where_every_initializer_is_an_input_copies_are_too() -> None:
    proto = network("c = Conv (x, c_w, bias)\n y = Conv (c, d_w, bias)", ir=3, bias=BIAS)
    for tensor in proto.graph.initializer:
        info = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        proto.graph.input.append(info)

    graph = cut_to(proto, c=[0, 1, 3]).model.proto.graph

    assert graph.input[-1] == helper.make_tensor_value_info("bias_pruned", 1, [3])
    assert graph.initializer[-1].name == "bias_pruned"


def test_where_it_need_not_be_a_copy_is_no_input() -> None:
    proto = network("c = Conv (x, c_w, bias)\n y = Conv (c, d_w, bias)", ir=4, bias=BIAS)

    graph = cut_to(proto, c=[0, 1, 3]).model.proto.graph

    assert [i.name for i in graph.input] == ["x"]
