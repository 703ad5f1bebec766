"""What every family of ops does to the channels, asserted on what pruning makes of tiny graphs.

Every result is verified in ONNX Runtime.
"""

from __future__ import annotations

import re
from dataclasses import replace

import onnx
import pytest
from cases_of_shapes import PARTS
from cases_of_unknowns import RANDOM
from onnx import helper
from rule_cases import FREE, LOCKED
from rule_graphs import ALL, STRONG, Case, constants, kept, network, pruned, runnable

import reprune_onnx as rp
from reprune_onnx.analyzer.rules import RULES

WITHOUT_KERNEL = {  # in ONNX Runtime on a CPU; `test_fused_ops` analyses them
    ("com.microsoft", name)
    for name in ("BiasAdd", "LayerNormalization", "NhwcMaxPool", "SimplifiedLayerNormalization")
}
RETIRED_OPS = {"Affine", "Crop", "ImageScaler", "ParametricSoftplus", "ScaledTanh"}


def test_every_op_of_the_table_has_a_text_graph() -> None:
    nodes = [node for case in FREE + LOCKED for node in network(case).graph.node]

    assert set(RULES) - {(node.domain, node.op_type) for node in nodes} == WITHOUT_KERNEL


def assert_as_expected(case: Case, result: rp.Pruned) -> None:
    proto = result.model.proto
    if not RETIRED_OPS & {node.op_type for node in proto.graph.node}:
        onnx.checker.check_model(proto, full_check=True)
    assert result.report["verification"]["passed"] is True
    assert len(kept(result)) == case.left, result.report["locked"]
    if case.keep:
        assert kept(result) == case.keep
    tensors = constants(proto)
    for name, shape in case.shapes.items():
        assert tensors[name].shape == shape, name
    for name, values in case.integers.items():
        assert tensors[name].tolist() == values, name


@pytest.mark.parametrize("case", runnable(FREE))
def test_channels_can_go(case: Case) -> None:
    assert_as_expected(case, pruned(network(case)))


@pytest.mark.parametrize("case", runnable(FREE))
def test_sizes_may_be_symbolic(case: Case) -> None:
    proto = network(case)
    del proto.graph.value_info[:]
    for value in (proto.graph.input[0], proto.graph.output[0]):
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if value.name == "y" or axis != 1:
                dim.dim_param = f"{value.name}{axis}"

    result = pruned(proto, input_shapes=(("x", (1, 3, 8, 8)),))

    assert_as_expected(case, result)


@pytest.mark.parametrize("case", runnable(FREE))
def test_constant_nodes_are_weights_too(case: Case) -> None:
    proto = network(case)
    weights = list(proto.graph.initializer)
    del proto.graph.initializer[:]
    for k, tensor in enumerate(weights):
        node = helper.make_node("Constant", [], [tensor.name], value=tensor)
        proto.graph.node.insert(k, node)

    assert_as_expected(case, pruned(proto))


@pytest.mark.parametrize("case", runnable(FREE))
def test_nothing_is_rewritten_where_nothing_goes(case: Case) -> None:
    proto = network(case)

    result = rp.prune(rp.Model(proto), rp.Settings(sparsity=0.0, residual="prune"))

    assert result.model.proto.graph == proto.graph
    assert result.report["rewritten"] == []


@pytest.mark.parametrize("case", LOCKED, ids=lambda case: case.name)
def test_channels_stay_with_a_reason(case: Case) -> None:
    result = pruned(network(case))

    assert kept(result) == ALL
    reasons = [lock["reason"] for lock in result.report["locked"]]
    assert any(re.search(case.reason, reason) for reason in reasons), reasons
    layers = {layer["node"]: layer["out_channels"] for layer in result.report["layers"]}
    assert layers["first"] == [6, 3]
    assert result.report["verification"]["passed"] is True


@pytest.mark.parametrize("case", RANDOM, ids=lambda case: case.name)
def test_no_constant_stands_for_random_numbers(case: Case) -> None:
    result = pruned(network(case), verify=False)

    assert kept(result) == ALL
    reasons = [lock["reason"] for lock in result.report["locked"]]
    assert any(re.search(case.reason, reason) for reason in reasons), reasons
    assert case.reason in {node.op_type for node in result.model.proto.graph.node}


def test_an_op_that_no_runtime_knows_locks_and_is_not_an_error() -> None:
    case = Case("", "z = other.Magic (c)")

    result = pruned(network(case), verify=False)

    assert kept(result) == ALL
    reasons = [lock["reason"] for lock in result.report["locked"]]
    assert any("custom domain 'other'" in reason for reason in reasons)


def test_a_channel_that_says_where_rows_are_cut_off_stays() -> None:
    case = Case(
        "",
        """p = Slice (c, three, four, one)
        a = ReduceMax <axes = [0, 2, 3], keepdims = 0> (p)
        i = Cast <to = 7> (a)
        m = Mul (i, none)
        e = Add (m, four)
        z = Slice (c, none, e, two)""",
        "int64[1] none = {0}, int64[1] one = {1}, int64[1] two = {2}, int64[1] three = {3},"
        "int64[1] four = {4}",
    )

    result = pruned(network(case))

    assert 3 in kept(result)
    assert len(kept(result)) < 8
    assert any(
        "reads these channels as a bound" in lock["reason"] for lock in result.report["locked"]
    )


def test_a_number_of_channels_that_the_graph_gives_does_not_change() -> None:
    proto = network(Case("", "k = Shape (c)\n z = Relu (c)"))
    proto.graph.output.append(helper.make_tensor_value_info("k", onnx.TensorProto.INT64, [4]))

    result = pruned(proto)

    assert kept(result) == ALL
    assert "output 'k'" in {lock["node"] for lock in result.report["locked"]}
    assert result.report["verification"]["passed"] is True


def test_sizes_that_are_text_are_none() -> None:
    """No ONNX Runtime takes such a file, and nothing is made of the digits in it."""
    texts = ", ".join(f'"{pad}"' for pad in (0, 2, 0, 0, 0, 2, 0, 0))
    case = Case("", "z = Pad (c, pads)", f"string[8] pads = {{{texts}}}", n=12)

    result = pruned(network(case), verify=False)

    assert kept(result) == ALL
    assert any("Pad" in lock["reason"] for lock in result.report["locked"])


def test_outputs_that_are_left_out_make_no_difference() -> None:
    proto = network(Case("", "z = MaxPool <kernel_shape = [1, 1]> (c)"))
    (node,) = [node for node in proto.graph.node if node.op_type == "MaxPool"]
    node.output.append("")

    result = pruned(proto)

    assert kept(result) == STRONG
    assert result.report["verification"]["passed"] is True


def test_the_picked_channel_stays() -> None:
    (case,) = [c for c in PARTS if c.name == "Gather one channel"]

    result = pruned(network(case))

    assert 3 in kept(result)
    index = kept(result).index(3)
    assert int(constants(result.model.proto)["i"]) == index
    assert any("picks this very channel" in lock["reason"] for lock in result.report["locked"])


@pytest.mark.parametrize("case", runnable(FREE))
def test_initializers_may_be_inputs_too(case: Case) -> None:
    """As in the files of early exporters: IR 3 lists every initializer among the graph's inputs."""
    proto = network(case)
    proto.ir_version = 3
    for tensor in proto.graph.initializer:
        proto.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )

    result = pruned(proto)

    given = constants(proto)  # a weight that the graph computes becomes one more input: a new name
    sizes = {name: shape for name, shape in case.shapes.items() if name in given}
    assert_as_expected(replace(case, shapes=sizes), result)
    dims = {t.name: tuple(t.dims) for t in result.model.proto.graph.initializer}
    inputs = {
        i.name: tuple(d.dim_value for d in i.type.tensor_type.shape.dim)
        for i in result.model.proto.graph.input
    }
    assert {name: inputs[name] for name in dims} == dims
