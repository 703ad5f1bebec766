"""Norms in the ops that older parsers have: equal in ONNX Runtime, and within float16."""

import numpy as np
import onnx
import pytest

from reprune_onnx.deployment.convert import convert
from reprune_onnx.deployment.equal import compare
from reprune_onnx.deployment.lower import lower
from reprune_onnx.errors import ModelError, VerificationError
from reprune_onnx.runtime.ort import Session
from reprune_onnx.targets import read_target
from reprune_onnx.types import Model
from tests.text_graphs import model as parsed

RNG = np.random.default_rng(0)
SCALE, SHIFT = RNG.uniform(0.5, 2, 8), RNG.standard_normal(8)
SHAPES = {"x": (1, 4, 6, 6)}
TARGETS = ("jetson-tx2", "jetson-xavier", "cuda")

LAYER = "t = Transpose <perm=[0, 2, 3, 1]> (c)\n y = LayerNormalization <{0}> ({1})"
NORMS = [
    (LAYER.format("axis=-1", "t, s, b"), 17),
    (LAYER.format("axis=3, epsilon=0.01", "t, s"), 17),
    (LAYER.format("axis=-2, epsilon=0.0", "t, s, b"), 17),
    ("t, m, d = LayerNormalization <axis=1> (c, one)\n u = Add (m, d)\n y = Add (t, u)", 17),
    ("t, m = LayerNormalization <axis=1> (c, one)\n y = Add (t, m)", 18),
    ("y = GroupNormalization <num_groups=2> (c, s, b)", 21),
    ("y = GroupNormalization <num_groups=8, epsilon=0.1> (c, s, b)", 22),
    (
        "g = Reshape (c, to3)\n z = GroupNormalization <num_groups=4> (g, s, b)\n"
        " y = Reshape (z, to4)",
        21,
    ),
    ("y = RMSNormalization <axis=-1> (c, six)", 23),
    ("y = RMSNormalization <axis=1, epsilon=0.5> (c, one)", 24),
    ("y = SimplifiedLayerNormalization <axis=-1> (c, six)", 17),
    (
        "p = GlobalAveragePool (c)\n q = Flatten <axis=2> (p)\n k = Reshape (q, eight)\n"
        " y = InstanceNormalization (c, k, b)",
        17,
    ),
]  # fmt: skip


def network(body, opset, size=1.0):
    text = f"""<ir_version: 8, opset_import: ["" : {opset}]>
    net (float[1, 4, 6, 6] x) => (float[A, B, C, D] y) {{
        c = Conv (x, w)
        {body}
    }}"""
    weights = {"s": SCALE, "b": SHIFT, "one": np.ones(1), "six": SCALE[:6]}
    weights |= {"to3": np.array([1, 8, 36]), "to4": np.array([1, 8, 6, 6]), "eight": np.array([8])}
    return Model(parsed(text, w=size * RNG.standard_normal((8, 4, 1, 1)), **weights))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("body", "opset"), NORMS)
def test_a_norm_that_a_parser_lacks_is_written_out_and_computes_the_same(body, opset, target):
    limits, model = read_target(target).limits, network(body, opset)
    lowered = lower(model, limits, target).model.proto
    onnx.checker.check_model(lowered, full_check=True)
    lacked = {"GroupNormalization", "RMSNormalization", "SimplifiedLayerNormalization"}
    lacked |= {"LayerNormalization"} if target != "cuda" or ", m" in body else set()
    assert not lacked & {n.op_type for n in lowered.graph.node}
    assert compare(model.proto, lowered, SHAPES) <= 1e-5


def test_a_norm_stays_where_the_parser_has_it():
    model = network("y, m = LayerNormalization <axis=1> (c, one)", 17)
    lowered = lower(model, read_target("cuda").limits, "cuda").model.proto
    (node,) = [n for n in lowered.graph.node if n.op_type == "LayerNormalization"]
    assert list(node.output) == ["y"], "the parser gives no mean, and nothing reads it"


def test_a_wrong_norm_is_seen():
    model = network(NORMS[0][0], 17)
    wrong = lower(model, read_target("jetson-tx2").limits, "tx2").model.proto
    mean = next(n for n in wrong.graph.node if n.op_type == "ReduceMean")
    mean.attribute[0].ints[0] = -2
    with pytest.raises(VerificationError, match="differs from the original by"):
        compare(model.proto, wrong, SHAPES)


def test_a_rank_that_is_not_known_is_said():
    model = network("z = Reshape (c, k)\n y = LayerNormalization <axis=1> (z, one)", 17)
    model.proto.graph.input.append(
        onnx.helper.make_tensor_value_info("k", onnx.TensorProto.INT64, [None])
    )
    with pytest.raises(ModelError, match="the rank of 'z' is not known"):
        lower(model, read_target("jetson-xavier").limits, "jetson-xavier")


@pytest.mark.parametrize(("body", "opset"), [NORMS[0], NORMS[3], NORMS[8]])
@pytest.mark.parametrize("size", [1e-3, 1.0, 3e3])
def test_no_part_of_a_norm_leaves_float16_on_any_inputs(body, opset, size):
    model = network(body, opset, size)
    lowered = lower(model, read_target("jetson-xavier").limits, "x").model.proto
    made = [n.output[0] for n in lowered.graph.node if n.op_type not in ("Conv", "Shape")]
    values = Session(lowered, optimize=False, outputs=made).run(
        {"x": RNG.standard_normal(SHAPES["x"]).astype(np.float32)}
    )
    assert max(float(np.abs(v).max()) for v in values.values()) < 65504
    divided = [n.input[1] for n in lowered.graph.node if n.op_type == "Div"]
    assert min(float(np.abs(values[name]).min()) for name in divided) >= 2.0**-14


def test_in_float16_a_norm_of_large_numbers_is_right_for_a_device_that_rounds():
    """Squares of 3,000 are beyond float16: the plain form is what the negative control computes."""
    model = network(NORMS[8][0], 23, 3e3)
    converted = convert(model, read_target("cuda"), "fp16")
    norm = [n for n in converted.model.proto.graph.node if n.op_type == "ReduceMean"]
    assert norm
    assert not any("ReduceMean" in b.op for b in converted.beyond)
    squares = network(
        "q = Mul (c, c)\n m = ReduceMean (q)\n r = Sqrt (m)\n y = Div (c, r)", 17, 3e3
    )
    assert {b.op for b in convert(squares, read_target("cuda"), "fp16").beyond} >= {"Mul"}


@pytest.mark.parametrize("target", TARGETS)
def test_a_float16_file_keeps_its_types(target):
    model = network(NORMS[0][0], 17)
    for tensor in model.proto.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            array = onnx.numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    for value in (model.proto.graph.input[0], model.proto.graph.output[0]):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    lowered = lower(model, read_target(target).limits, target).model.proto
    onnx.checker.check_model(lowered, full_check=True)
    assert compare(model.proto, lowered, SHAPES, 5e-3) <= 5e-3


@pytest.mark.parametrize(
    ("like", "to"), [("c", onnx.TensorProto.FLOAT), ("n", onnx.TensorProto.INT64)]
)
def test_cast_like_becomes_a_cast_where_the_parser_lacks_it(like, to):
    model = network(f"n = Shape (c)\n k = CastLike (c, {like})\n y = Cast <to=1> (k)", 19)
    lowered = lower(model, read_target("jetson-xavier").limits, "x").model.proto
    cast = next(n for n in lowered.graph.node if n.output[0] == "k")
    assert (cast.op_type, cast.attribute[0].i) == ("Cast", to)
    assert compare(model.proto, lowered, SHAPES) == 0
