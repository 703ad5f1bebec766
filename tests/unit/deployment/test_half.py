"""float16 in a file: what has no range in it stays float32; the proof rounds as a device does."""

import numpy as np
import onnx
import pytest

from reprune_onnx.activations.images import Images
from reprune_onnx.deployment.convert import convert
from reprune_onnx.deployment.half import half
from reprune_onnx.deployment.measured_on import measured_on
from reprune_onnx.deployment.rounded import rounded
from reprune_onnx.errors import VerificationError
from reprune_onnx.runtime.ort import Session
from reprune_onnx.targets import read_target
from reprune_onnx.types import Model
from tests.text_graphs import model as parsed

CUDA = read_target("cuda")
HALF, SINGLE = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
RNG = np.random.default_rng(0)
W = RNG.standard_normal((4, 4, 1, 1)) / 2


def model_of(body, outputs="float[N, C, H, W] y", opset=17, **weights):
    text = f"""<ir_version: 8, opset_import: ["" : {opset}]>
    net (float[1, 4, 6, 6] x) => ({outputs}) {{
        c = Conv (x, w)
        {body}
    }}"""
    return Model(parsed(text, w=W, **weights))


def in_half(model, expected):
    """Convert; check the file; the names of the nodes that have no range, with their reasons."""
    converted = convert(model, CUDA, "fp16")
    proto = converted.model.proto
    onnx.checker.check_model(proto, full_check=True)
    assert {n.name for n in proto.graph.node} >= {n.name for n in model.proto.graph.node if n.name}
    assert [i.type.tensor_type.elem_type for i in proto.graph.input] == [SINGLE]
    made = [o for n in proto.graph.node for o in n.output]
    types = {p.name: p.dtype for p in Session(proto, optimize=False, outputs=made).outputs}
    assert np.float16 in types.values()
    assert {b.node.partition("_")[0] for b in converted.beyond} == set(expected)
    return converted


@pytest.mark.parametrize(
    ("body", "weights", "beyond", "says"),
    [
        ("y = Relu (c)", {}, (), ""),
        # It overflows on the way, and comes back: ONNX Runtime in float32 sees nothing of it.
        ("l = Mul (c, k)\n m = Div (l, k)\n y = Relu (m)", {"k": 1e5}, ("Mul", "Div"), "reaches"),
        ("l = Mul (c, c)\n m = Mul (l, k)\n y = Sqrt (m)", {"k": 2e4}, ("Mul", "Sqrt"), "reaches"),
        # A mask of attention is a constant beyond float16: it is not clamped.
        ("m = Add (c, k)\n s = Softmax (m)\n y = Mul (s, c)", {"k": [0.0, 0, 0, 0, -1e9, 0]},
         ("Add", "Softmax"), "reaches 1e+09"),
        # It is lost on the way: 1e-8 is 0 in float16.
        ("l = Mul (c, k)\n m = Div (l, k)\n y = Relu (m)", {"k": 1e-9}, ("Mul", "Div"), "loses"),
        ("m = Div (c, k)\n r = ReduceMean <axes=[2, 3]> (m)\n y = Relu (r)", {"k": 1e-3},
         ("ReduceMean",), "what adds up in it"),
        ("m = Div (c, k)\n y = InstanceNormalization (m, s, b)",
         {"k": 1e-2, "s": np.ones(4), "b": np.zeros(4)}, ("InstanceNormalization",), "adds up"),
    ],
)  # fmt: skip
def test_what_float16_has_no_range_for_stays_float32(body, weights, beyond, says):
    halved = in_half(model_of(body, **weights), beyond)
    assert all(says in b.reason for b in halved.beyond[:1])
    assert halved.as_json()["beyond_float16"] == [b.as_json() for b in halved.beyond]


def test_the_proof_rounds_what_onnx_runtime_does_not():
    """A file that was cast without regard to its range passes in ONNX Runtime, and not here."""
    model = model_of("l = Mul (c, k)\n m = Div (l, k)\n y = Relu (m)", k=1e5)
    wild = half(model, lambda: iter(()))  # nothing is measured but constants
    assert [b.op for b in wild.beyond] == ["Mul", "Div"]
    small = model_of("l = Mul (c, k)\n m = Mul (l, k)\n d = Div (m, k)\n e = Div (d, k)\n"
                     " y = Relu (e)", k=1000.0)  # fmt: skip
    wild = half(small, lambda: iter(()))
    assert not wild.beyond
    feeds = {"x": RNG.standard_normal((1, 4, 6, 6)).astype(np.float32)}
    true = Session(small.proto, optimize=False).run(feeds)["y"]
    as_run = Session(rounded(wild.model.proto), optimize=False).run(feeds)["y"]
    assert not np.isfinite(as_run).all()
    mended = half(small, lambda: measured_on(small.proto, {"x": (1, 4, 6, 6)}, None))
    as_run = Session(rounded(mended.model.proto), optimize=False).run(feeds)["y"]
    assert np.abs(as_run - true).max() < 1e-2 * np.abs(true).max()


@pytest.mark.parametrize(
    ("size", "factor", "beyond"),
    [
        (12, 1e3, True),  # the images reach a third of the range: no room for others like them
        (12, 200.0, False),
        (None, 1e3, False),  # random numbers are smaller
        (None, 1e4, True),
        (1e-2, 1e4, False),  # beside images that are small, random numbers may need all of it
        (1e-2, 6e4, True),  # but not more
    ],
)
def test_images_have_room_beside_them_and_random_inputs_have_none(size, factor, beyond):
    model = model_of("l = Mul (c, k)\n m = Div (l, k)\n y = Relu (m)", k=factor)
    signs = np.sign(W[1].reshape(1, 4, 1, 1))
    batch = {"x": np.broadcast_to((size or 0) * signs, (1, 4, 6, 6)).astype(np.float32)}
    images = None if size is None else Images("images", (batch,), 1)
    half_model = half(model, lambda: measured_on(model.proto, {"x": (1, 4, 6, 6)}, images))
    assert [b.op for b in half_model.beyond] == ["Mul", "Div"] * beyond


def test_rounding_is_what_differs():
    model = model_of("y = Relu (c)")
    halved = half(model, lambda: measured_on(model.proto, {"x": (1, 4, 6, 6)}, None))
    feeds = {"x": RNG.standard_normal((1, 4, 6, 6)).astype(np.float32)}
    got = Session(rounded(halved.model.proto), optimize=False).run(feeds)["y"]
    assert np.array_equal(got, got.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize(
    ("body", "weights", "singles"),
    [
        ('y = Resize <mode="nearest"> (c, , s)', {"s": [1.0, 1, 2, 2]}, {"s"}),
        ("y, i = TopK <axis=1> (c, n)", {"n": np.array([2])}, {"y"}),
        # Sizes that are computed in floats: 2049 has no float16.
        ("s = Shape (c)\n f = Cast <to=1> (s)\n g = Mul (f, k)\n t = Cast <to=7> (g)\n"
         " y = Expand (c, t)", {"k": [1.0, 1, 1, 1]}, {"f", "g", "k"}),
        ("r = ReduceMean <keepdims=0> (c)\n b = Greater (r, k)\n y = If (b) <\n"
         " then_branch = a () => (float[N, C, H, W] p) { p = Relu (c) },\n"
         " else_branch = e () => (float[N, C, H, W] q) { q = Neg (c) }>", {"k": 0.0}, {"y"}),
        ("i = Cast <to=6> (c)\n f = Cast <to=1> (i)\n y = Mul (f, c)", {}, {"y"}),
    ],
)  # fmt: skip
def test_what_stays_float32_by_its_type(body, weights, singles):
    halved = in_half(model_of(body, **weights), ())
    proto = halved.model.proto
    made = [o for n in proto.graph.node for o in n.output]
    types = {p.name: p.dtype for p in Session(proto, optimize=False, outputs=made).outputs}
    types |= {t.name: np.float32 for t in proto.graph.initializer if t.data_type == SINGLE}
    assert all(types[name] == np.float32 for name in singles)


def test_a_tensor_that_is_read_in_both_types_and_is_an_output():
    halved = in_half(model_of("r = Relu (c)\n l = Mul (r, k)\n m = Div (l, k)\n y = Add (m, r)",
                             "float[N, C, H, W] y, float[N, C, H, W] r", k=1e5),
                    ("Mul", "Div"))  # fmt: skip
    assert [o.name for o in halved.model.proto.graph.output] == ["y", "r"]


def test_a_flag_tells_which_nodes_overflow_on_the_device():
    model = model_of("l = Mul (c, k)\n m = Div (l, k)\n y = Relu (m)", k=1e5)
    converted = convert(model, read_target("jetson-tx2"), "fp16")
    assert converted.flag == "fp16"
    assert [b.op for b in converted.beyond] == ["Mul", "Div"]
    assert SINGLE in {t.data_type for t in converted.model.proto.graph.initializer}


def test_what_rounding_changes_too_much_is_refused():
    """Differences of large numbers: every number has its place in float16, and none is right."""
    model = model_of("a = Add (c, k)\n b = Sub (a, k)\n y = Relu (b)", k=4096.0)
    with pytest.raises(VerificationError, match="differs from the original by"):
        convert(model, CUDA, "fp16")
    assert convert(model, CUDA, "fp32").difference < 1e-4


@pytest.mark.parametrize("target", ["cpu", "cuda", "jetson-tx2"])
@pytest.mark.parametrize("kind", [onnx.TensorProto.DOUBLE, onnx.TensorProto.BFLOAT16])
def test_models_of_types_that_no_cpu_runs_become_float32(kind, target):
    model = model_of("r = Relu (c)\n d = Cast <to=1> (r)\n y = Sqrt (d)")
    for value in (*model.proto.graph.input, *model.proto.graph.output):
        value.type.tensor_type.elem_type = kind
    (tensor,) = model.proto.graph.initializer
    tensor.CopyFrom(onnx.helper.make_tensor("w", kind, W.shape, W.ravel()))
    next(n for n in model.proto.graph.node if n.op_type == "Cast").attribute[0].i = kind
    converted = convert(model, read_target(target), "fp32")
    assert {t.data_type for t in converted.model.proto.graph.initializer} == {SINGLE}
    assert converted.difference < 1e-4
    rng = np.random.default_rng(1)
    batch = {"x": rng.standard_normal((1, 4, 6, 6)).astype(np.float32)}
    half_found = convert(model, CUDA, "fp16", images=Images("images", (batch,), 1))
    assert 0 < half_found.difference < 1e-2
