"""Constants that nobody reads: those that a cut leaves behind go, others stay and count nowhere."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tiny_cuts import arrays, cut_to, network

from reprune_onnx.pruner.measure import parameters

COMPUTED = """
c_v = Mul (c_half, two)
c = Conv (x, c_v)
y = Conv (c, head)
"""
HALF = np.ones((4, 3, 1, 1))
OTHER = np.ones((5, 7))


def computed(ir: int) -> onnx.ModelProto:
    proto = network(COMPUTED, ir=8, c_half=HALF, two=np.float32(2), other=OTHER)
    if ir < 4:  # there all initializers are inputs too
        proto.ir_version = ir
        for t in proto.graph.initializer:
            info = helper.make_tensor_value_info(t.name, TensorProto.FLOAT, t.dims)
            proto.graph.input.append(info)
    return proto


def test_what_only_the_cut_constant_was_computed_from_goes():
    result = cut_to(computed(8), c=[0, 2])
    assert {"c_half", "two"}.isdisjoint(arrays(result))
    assert parameters(result.model.proto) == 2 * 3 + 2 * 2


def test_where_constants_are_inputs_it_stays_and_is_no_parameter_any_more():
    """A caller may give them: they are the file's interface."""
    result = cut_to(computed(3), c=[0, 2])
    assert {"c_half", "two"} <= set(arrays(result))
    assert parameters(result.model.proto) == 2 * 3 + 2 * 2


def test_inputs_of_the_users_stay():
    proto = computed(8)
    proto.graph.input.append(helper.make_tensor_value_info("c_half", TensorProto.FLOAT, HALF.shape))
    proto.graph.node[0].op_type = "Identity"
    del proto.graph.node[0].input[1:]
    result = cut_to(proto, c=[0, 2])
    assert "c_half" in {i.name for i in result.model.proto.graph.input}


@pytest.mark.parametrize("ir", [8, 3])
def test_what_was_dead_before_stays_and_is_no_parameter(ir):
    proto = computed(ir)
    assert parameters(proto) == 12 + 1 + 8
    result = cut_to(proto, c=[0, 2])
    np.testing.assert_array_equal(arrays(result)["other"], OTHER)
    alive = computed(ir)
    alive.graph.node.append(helper.make_node("Relu", ["other"], ["z"]))
    assert parameters(alive) == 12 + 1 + 8 + 35


def test_what_only_a_body_reads_counts():
    proto = computed(8)
    body = helper.make_graph(
        [helper.make_node("Relu", ["other"], ["z"])],
        "body",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
    )
    branches = {"then_branch": body, "else_branch": body}
    proto.graph.node.append(helper.make_node("If", ["condition"], ["v"], **branches))
    assert parameters(proto) == 12 + 1 + 8 + 35
