"""Files no newer than a device can read: what is said another way, and what is refused by name."""

import numpy as np
import onnx
import pytest

from reprune_onnx.deployment.equal import compare
from reprune_onnx.deployment.lower import lower
from reprune_onnx.errors import ModelError, VerificationError
from reprune_onnx.targets import Limits, read_target
from reprune_onnx.types import Model

SHAPES = {"x": (1, 4, 6, 6)}
OLD = Limits(opset=13, ir=7, types="flags", constants=True)


def model_of(body: str, opset: int, tensors: dict | None = None, out: str = "float[N, C, H, W] y"):
    """x (N, 4, 6, 6) -> a 1x1 convolution -> ``body``, which makes y from c."""
    text = f"""<ir_version: 10, opset_import: ["" : {opset}]>
    net (float[N, 4, 6, 6] x) => ({out}) {{
        c = Conv (x, w)
        {body}
    }}"""
    proto = onnx.parser.parse_model(text)
    weight = np.random.default_rng(0).standard_normal((4, 4, 1, 1)).astype(np.float32)
    for name, array in {"w": weight, **(tensors or {})}.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
    return Model(proto)


def lowered(model: Model, limits: Limits = OLD):
    """Lower, check the versions, and compare."""
    low = lower(model, limits, "the device")
    proto = low.model.proto
    assert proto.opset_import[0].version <= limits.opset
    assert proto.ir_version <= limits.ir
    onnx.checker.check_model(proto)
    assert compare(model.proto, proto, SHAPES) <= 1e-4
    return low


@pytest.mark.parametrize(
    ("body", "opset", "tensors", "kinds"),
    [
        ("y = HardSwish (c)", 14, {}, {"HardSigmoid", "Mul"}),
        ("y = Mish (c)", 18, {}, {"Softplus", "Tanh", "Mul"}),
        ("y = Gelu (c)", 20, {}, {"Erf", "Add", "Mul"}),
        ('y = Gelu <approximate="tanh"> (c)', 20, {}, {"Tanh", "Add", "Mul"}),
        ("y = Relu (c)", 22, {}, {"Relu"}),
        ("y = ReduceMean <keepdims=1> (c, a)", 18, {"a": np.array([2, 3])}, {"ReduceMean"}),
        ("y = ReduceMax (c)", 20, {}, {"ReduceMax"}),
        (
            "u, v = Split <axis=1, num_outputs=2> (c)\n y = Concat <axis=1> (v, u)",
            18,
            {},
            {"Split", "Concat"},
        ),
        ("y = Pad (c, p, , a)", 18, {"p": np.array([1, 2]), "a": np.array([-1])}, {"Pad"}),
        (
            'y = Resize <mode="linear", antialias=0> (c, , s)',
            19,
            {"s": np.array([1, 1, 2, 2], np.float32)},
            {"Resize"},
        ),
        (
            'y = Resize <mode="nearest", axes=[2, 3]> (c, , s)',
            18,
            {"s": np.array([2, 3], np.float32)},
            {"Resize"},
        ),
        ("y = Reshape <allowzero=1> (c, s)", 21, {"s": np.array([-1, 36, 4, 1])}, {"Reshape"}),
        (
            "n = Shape <start=0, end=1> (c)\n m = Concat <axis=0> (n, r)\n y = Reshape (c, m)",
            20,
            {"r": np.array([36, 4, 1])},
            {"Shape", "Slice", "Concat", "Reshape"},
        ),
        ("y = AveragePool <kernel_shape=[2, 2], dilations=[1, 1]> (c)", 19, {}, {"AveragePool"}),
    ],
)
def test_what_is_said_another_way(body, opset, tensors, kinds):
    low = lowered(model_of(body, opset, tensors))
    assert {n.op_type for n in low.model.proto.graph.node} == {"Conv", *kinds}
    assert {"node": "", "before": f"opset {opset}", "after": "opset 13"} in low.rewritten
    names = [n.name for n in low.model.proto.graph.node]
    assert all(names)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("body", "opset", "tensors", "says"),
    [
        (
            "y = Reshape <allowzero=1> (c, s)",
            14,
            {"s": np.array([0, 4, 6, 6])},
            "Reshape 'Reshape_1'",
        ),
        (
            'y = Resize <mode="linear", antialias=1> (c, , s)',
            18,
            {"s": np.array([1, 1, 2, 2], np.float32)},
            "antialias = 1 cannot be said in opset 13",
        ),
        ('y = Pad <mode="wrap"> (c, p)', 19, {"p": np.zeros(8, np.int64)}, "Pad 'Pad_1'"),
        ("y = AveragePool <kernel_shape=[2, 2], dilations=[2, 2]> (c)", 19, {}, "AveragePool"),
        ("y = BitwiseNot (c)", 18, {}, "opset 13 has no such op"),
        ("y = com.mine.Op (c)", 14, {}, "domain 'com.mine'"),
    ],
)
def test_what_the_older_opset_cannot_say_is_refused_by_name(body, opset, tensors, says):
    model = model_of(body, opset, tensors)
    if "com.mine" in body:
        model.proto.opset_import.append(onnx.helper.make_opsetid("com.mine", 1))
    with pytest.raises(ModelError, match="cannot be made ready for the device") as refused:
        lower(model, OLD, "the device")
    assert says in str(refused.value)


def test_what_a_jetson_tx2_lacks():
    limits = read_target("jetson-tx2").limits
    cubic = model_of(
        'y = Resize <mode="cubic"> (c, , s)', 13, {"s": np.array([1, 1, 2, 2], np.float32)}
    )
    with pytest.raises(ModelError, match=r"Resize 'Resize_1'.*'cubic' is not there; use nearest"):
        lower(cubic, limits, "jetson-tx2")
    with pytest.raises(ModelError, match=r"Hardmax 'Hardmax_1'.*its parser has no such op"):
        lower(model_of("y = Hardmax (c)", 13), limits, "jetson-tx2")
    low = lowered(model_of("e = Exp (c)\n y = Reciprocal (e)", 13), limits)
    assert [n.op_type for n in low.model.proto.graph.node] == ["Conv", "Exp", "Div"]


def test_inputs_that_must_be_initializers_are(tmp_path):
    body = """k = Constant <value_ints=[2, 3]> ()
        t = Identity (k)
        y = Squeeze (p, t)"""
    model = model_of("p = GlobalAveragePool (c)\n" + body, 13, out="float[N, C] y")
    low = lowered(model, read_target("jetson-tx2").limits)
    assert [n.op_type for n in low.model.proto.graph.node] == [
        *("Conv", "GlobalAveragePool", "Squeeze")
    ]
    made = {
        t.name: onnx.numpy_helper.to_array(t).tolist() for t in low.model.proto.graph.initializer
    }
    assert made["t"] == [2, 3]
    assert model.proto.graph.node[2].op_type == "Constant", "the original is not changed"


def test_a_model_that_is_old_enough_stays_as_it_is():
    low = lowered(model_of("y = Relu (c)", 11), Limits(opset=13, ir=10))
    assert low.rewritten == []
    assert low.model.proto.opset_import[0].version == 11


def test_a_wrong_conversion_is_seen():
    model = model_of("y = HardSwish (c)", 14)
    wrong = lower(model, OLD, "the device").model.proto
    gate = next(n for n in wrong.graph.node if n.op_type == "HardSigmoid")
    next(a for a in gate.attribute if a.name == "alpha").f = 0.2
    with pytest.raises(VerificationError, match="differs from the original by"):
        compare(model.proto, wrong, SHAPES)


def test_a_comparison_that_shows_nothing_is_no_proof():
    model = model_of("z = Mul (c, k)\n y = Sigmoid (z)", 13, {"k": np.float32(1e-9)})
    with pytest.raises(VerificationError, match="nothing could be proven"):
        compare(model.proto, model.proto, SHAPES)
