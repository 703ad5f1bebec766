"""Files that nobody would make by accident: each ends in one line, quickly, and leaves nothing."""

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
    found = node(model, "Relu")
    found.input.append(found.input[0])


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


def weight_of_four_bits(model):
    found = tensor(model, INNER)
    found.data_type = onnx.TensorProto.INT4
    found.raw_data = found.raw_data[: -(-len(found.raw_data) // 8)]


def input_of_a_terabyte(model):
    for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_value = 2**20


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
    weight_of_four_bits: (),
    input_of_a_terabyte: ("numbers", "--input-shape"),
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_hostile_model_is_refused(refuses, demo, tmp_path, kind):
    path = altered(demo, tmp_path / "model.onnx", kind)
    refuses("prune", path, "-o", tmp_path / "small.onnx", *HALF, says=KINDS[kind])


def test_text_that_is_no_text(refuses, demo, tmp_path):
    path = altered(demo, tmp_path / "model.onnx", of_damaged_text)
    path.write_bytes(path.read_bytes().replace(b"zzzz", b"\xff\xfe\xfd\xfc", 1))
    refuses("prune", path, "-o", tmp_path / "small.onnx", *HALF, says=("names that are no text",))


def test_a_model_of_which_no_convolution_can_be_followed(refuses, call, tmp_path):
    text = """<ir_version: 8, opset_import: ["" : 13]>
        g (float[1,3,8,8] x, float[4,3,1,1] w) => (float[1,4,8,8] y) { y = Conv(x, w) }"""
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx.parser.parse_model(text).SerializeToString())
    assert call("analyze", path).code == 0
    refuses("prune", path, "-o", tmp_path / "small.onnx", *HALF, says=("nothing can be pruned",))
