"""Files that nobody would make by accident: each ends in one line, quickly, and leaves nothing."""

from itertools import pairwise

import numpy as np
import onnx
import pytest
from altered_models import HALF, INNER, altered, node, tensor


def of_damaged_text(model):
    model.graph.node[0].name = "zzzz"


def attribute_of_a_function(model):
    attribute = node(model, "Conv").attribute[0]
    attribute.ref_attr_name = "pads"


def attribute_of_another_type(model):
    attribute = next(a for a in node(model, "Conv").attribute if a.name == "group")
    attribute.CopyFrom(onnx.helper.make_attribute("group", "two"))


def attribute_missing(model):
    node(model, "Conv").op_type = "Cast"
    del node(model, "Cast").input[1:]


def inputs_missing(model):
    del node(model, "Conv").input[1:]


def input_empty(model):
    node(model, "Conv").input[1] = ""


def output_missing(model):
    del model.graph.node[-1].output[:]


def too_many_inputs(model):
    relu = node(model, "Relu")
    relu.input.append(relu.input[0])


def opset_of_no_onnx(model):
    model.opset_import[0].version = 2**40


def negative_opset(model):
    model.opset_import[0].version = -1


def ir_of_no_onnx(model):
    model.ir_version = 2**40


def more_values_than_bytes(model):
    tensor(model, INNER).dims[0] = 2**40


def negative_extent(model):
    dims = tensor(model, INNER).dims
    dims[0], dims[1] = -dims[0], -dims[1]


def fewer_values_than_bytes(model):
    tensor(model, INNER).dims[0] = 1


def type_that_does_not_exist(model):
    tensor(model, INNER).data_type = 77


def weight_of_complex_numbers(model):
    weight = tensor(model, INNER)
    weight.data_type = onnx.TensorProto.COMPLEX64
    weight.raw_data = weight.raw_data * 2


def weight_of_signaling_nans(model):
    weight = tensor(model, INNER)
    weight.raw_data = np.full(len(weight.raw_data) // 4, 0x7FA00000, np.uint32).tobytes()


def weight_of_four_bits(model):
    weight = tensor(model, INNER)
    weight.data_type = onnx.TensorProto.INT4
    weight.raw_data = weight.raw_data[: -(-len(weight.raw_data) // 8)]


def input_of_a_terabyte(model):
    for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_value = 2**20


def weight_declared_as_another(model):
    weight = tensor(model, INNER)
    shape = [2 * weight.dims[0], *weight.dims[1:]]
    model.ir_version = 3
    model.graph.input.append(onnx.helper.make_tensor_value_info(INNER, weight.data_type, shape))


def cycle(model):
    first, last = model.graph.node[0], model.graph.node[-1]
    first.input[0] = last.output[0]


def two_makers_of_one_tensor(model):
    model.graph.node[-1].output[0] = model.graph.node[0].output[0]


def two_weights_of_one_name(model):
    model.graph.initializer.add().CopyFrom(tensor(model, INNER))


def output_of_nothing(model):
    model.graph.output[0].name = "nowhere"


def extent_of_zero(model):
    for dim in model.graph.input[0].type.tensor_type.shape.dim[1:]:
        dim.dim_value = 0


def weight_of_nothing(model):
    weight = tensor(model, INNER)
    weight.dims[0] = 0
    weight.raw_data = b""


def function_that_calls_itself(model):
    call = onnx.helper.make_node("Loop1", ["a"], ["b"], domain="own")
    opsets = [onnx.helper.make_opsetid("own", 1)]
    model.functions.append(onnx.helper.make_function("own", "Loop1", ["a"], ["b"], [call], opsets))
    model.opset_import.append(opsets[0])
    relu = node(model, "Relu")
    relu.op_type, relu.domain = "Loop1", "own"


def function_of_functions(model):
    """Twenty functions, each of which calls the one before it ten times: 10^20 nodes."""
    opsets = [onnx.helper.make_opsetid("own", 1), model.opset_import[0]]
    for k in range(20):
        names = ["a", *(f"t{i}" for i in range(9)), "b"]
        op, domain = ("Relu", "") if k == 0 else (f"F{k - 1}", "own")
        body = [onnx.helper.make_node(op, [x], [y], domain=domain) for x, y in pairwise(names)]
        made = onnx.helper.make_function("own", f"F{k}", ["a"], ["b"], body, opsets)
        model.functions.append(made)
    model.opset_import.append(opsets[0])
    relu = node(model, "Relu")
    relu.op_type, relu.domain = "F19", "own"


def function_below_functions(model):
    opsets = [onnx.helper.make_opsetid("own", 1), model.opset_import[0]]
    for k in range(3000):
        op, domain = ("Relu", "") if k == 0 else (f"F{k - 1}", "own")
        body = [onnx.helper.make_node(op, ["a"], ["b"], domain=domain)]
        made = onnx.helper.make_function("own", f"F{k}", ["a"], ["b"], body, opsets)
        model.functions.append(made)
    model.opset_import.append(opsets[0])
    relu = node(model, "Relu")
    relu.op_type, relu.domain = "F2999", "own"


def bodies_in_bodies(model):
    """Ifs in Ifs, as deep as protobuf reads them."""
    inner = onnx.helper.make_node("Relu", [model.graph.node[0].output[0]], ["t"])
    for k in range(24):
        out = onnx.helper.make_tensor_value_info(inner.output[0], onnx.TensorProto.FLOAT, None)
        body = onnx.helper.make_graph([inner], f"body{k}", [], [out])
        inner = (
            onnx.helper.make_node("If", ["always"], [f"t{k}"], then_branch=body, else_branch=body)
            if k < 1
            else onnx.helper.make_node("Loop", ["n", "always"], [f"t{k}"], body=body)
        )
    model.graph.node.append(inner)


KINDS = {
    attribute_of_a_function: ("attribute", "damaged"),
    attribute_of_another_type: ("attribute 'group'", "is STRING, and not INT"),
    attribute_missing: ("lacks its attribute 'to'",),
    inputs_missing: ("1 inputs", "at least 2"),
    input_empty: ("lacks its input",),
    output_missing: ("outputs", "damaged"),
    too_many_inputs: ("2 inputs", "at most 1"),
    opset_of_no_onnx: ("opset", str(2**40)),
    negative_opset: ("opset", "-1"),
    ir_of_no_onnx: ("IR version", str(2**40)),
    more_values_than_bytes: (INNER, "should hold"),
    negative_extent: (INNER, "damaged"),
    fewer_values_than_bytes: (INNER, "should hold"),
    type_that_does_not_exist: (INNER,),
    weight_of_complex_numbers: (INNER, "complex"),
    weight_of_signaling_nans: ("NaN",),
    weight_of_four_bits: (),
    weight_declared_as_another: (INNER, "declared as an input of shape"),
    cycle: ("in a cycle",),
    two_makers_of_one_tensor: ("exists already",),
    two_weights_of_one_name: ("two tensors", INNER),
    output_of_nothing: ("nowhere",),
    extent_of_zero: (),
    weight_of_nothing: (),
    function_that_calls_itself: ("Loop1", "calls itself"),
    function_of_functions: ("local functions", "nodes, more than"),
    function_below_functions: ("more than 100 deep",),
    bodies_in_bodies: (),
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_hostile_model_is_refused(refuses, demo, tmp_path, kind):
    path = altered(demo, tmp_path / "model.onnx", kind)
    refuses("prune", path, "-o", tmp_path / "small.onnx", *HALF, says=KINDS[kind])


def extent_of_damaged_text(model):
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "zzzz"


def key_of_damaged_text(model):
    model.metadata_props.add(key="zzzz", value="")


@pytest.mark.parametrize("kind", [of_damaged_text, extent_of_damaged_text, key_of_damaged_text])
def test_text_that_is_no_text(refuses, demo, tmp_path, kind):
    path = altered(demo, tmp_path / "model.onnx", kind)
    path.write_bytes(path.read_bytes().replace(b"zzzz", b"\xff\xfe\xfd\xfc", 1))
    refuses("prune", path, "-o", tmp_path / "small.onnx", *HALF, says=("names that are no text",))


@pytest.mark.parametrize(
    ("graph", "why"),
    [
        (
            "(float[1,3,8,8] x, float[4,3,1,1] w) => (float[1,4,8,8] y) { y = Conv(x, w) }",
            "'w' depends on the graph's inputs",
        ),
        (
            "() => (float[1,1,1,1] y) <float[1,1,1,1] x = {1}, float[1,1,1,1] w = {1}>"
            " { y = Conv(x, w) }",
            "compute constants from constants",
        ),
    ],
    ids=["the weight is an input", "everything is constant"],
)
def test_a_model_of_which_no_convolution_can_be_followed(refuses, tmp_path, graph, why):
    text = f'<ir_version: 8, opset_import: ["" : 13]> g {graph}'
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx.parser.parse_model(text).SerializeToString())
    says = ("nothing can be pruned", why)
    refuses("analyze", path, says=says)
    refuses("prune", path, "-o", tmp_path / "small.onnx", *HALF, says=says)


def test_an_input_of_a_terabyte_is_proven_on_a_smaller_one(call, demo, tmp_path):
    path = altered(demo, tmp_path / "model.onnx", input_of_a_terabyte)
    result = call("prune", path, "-o", tmp_path / "small.onnx", *HALF)
    assert result.code == 0, result.err
    assert (tmp_path / "small.onnx").exists()
