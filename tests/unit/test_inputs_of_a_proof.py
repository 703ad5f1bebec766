"""What a proof feeds a model, where a cut cannot be seen on the first inputs that come to mind."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import text_graphs
from onnx import numpy_helper

import reprune_onnx as rp
from reprune_onnx.errors import VerificationError
from reprune_onnx.runtime.ort import Session
from reprune_onnx.runtime.random_inputs import DRAWS
from reprune_onnx.verification import cut as verification
from reprune_onnx.verification.branches import branch_values
from reprune_onnx.verification.inputs import kinds, runs

HALF = rp.Settings(
    sparsity=0.5, method="l1", recover="none", allocation="uniform", residual="prune"
)
RNG = np.random.default_rng(5)
WIDE = 640  # channels: sums of so many numbers round differently when half of them are zero


def network(tail: str, inputs: str = "float[1, 8, 32, 32] x", **weights: object) -> rp.Model:
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
    g ({inputs}) => (float[] y) {{
        h = Conv <pads = [1, 1, 1, 1]> (x, first)
        r = Relu (h)
        [reader] s = Conv (r, second)
        {tail}
    }}"""
    weights_ = {
        "first": RNG.standard_normal((WIDE, 8, 3, 3)) / 5,
        "second": RNG.standard_normal((8, WIDE, 1, 1)) / 30,
    }
    return rp.Model(text_graphs.model(text, **weights_, **weights))


def with_a_wrong_weight(monkeypatch, node: str, tensor: str):
    """Let the pruned model read another weight than the one that was cut."""
    real = verification.FedModel

    def wrong(proto):
        made = real(proto)
        place = next(n for n in made.proto.graph.node if n.name == node)
        weight = next(t for t in proto.graph.initializer if t.name == tensor)
        made.rewire(place, 1, np.roll(numpy_helper.to_array(weight), 1, axis=1))
        return made

    monkeypatch.setattr(verification, "FedModel", wrong)


@pytest.mark.parametrize("scale", [1e-6, 1e-9])
@pytest.mark.parametrize("next_one", ["y = Add (x, t)", "u = Add (x, t)\n y = Add (u, x)"])
def test_a_branch_whose_scale_makes_it_vanish_is_proven_before_it_does(
    scale, next_one, monkeypatch
):
    model = network(f"t = Mul (s, gamma)\n {next_one}", gamma=np.full((8, 1, 1), scale))
    proof = rp.prune(model, HALF).report["verification"]
    assert proof["passed"]
    assert proof["inner"]
    assert proof["max_abs_diff"] < 1e-5 * proof["scale"]
    assert proof["negative_control"] > 1e-2 * proof["scale"]
    with_a_wrong_weight(monkeypatch, "reader", "second")
    with pytest.raises(VerificationError, match="differs from the masked original"):
        rp.prune(model, HALF)


def test_where_a_cut_shows_in_the_outputs_nothing_else_is_looked_at():
    pruned = rp.prune(network("y = Mul (s, gamma)", gamma=np.full((8, 1, 1), 1e-6)), HALF)
    assert not pruned.report["verification"]["inner"]


UNSTABLE = """a = Neg (x)
    b = Relu (a)
    m = ReduceMax <keepdims = 1> (b)
    n = Mul (m, million)
    k = Mul (s, n)
    w = Sin (k)
    y = Add (w, s)"""


def test_inputs_like_images_are_tried_where_rounding_is_amplified_on_others(monkeypatch):
    """The sine is of a million times the activation, unless all inputs are positive."""
    model = network(UNSTABLE, million=np.array(1e6))
    proof = rp.prune(model, HALF).report["verification"]
    assert proof["passed"]
    assert proof["inputs"] == ["patches in [0, 1]"]
    with_a_wrong_weight(monkeypatch, "reader", "second")
    with pytest.raises(VerificationError):
        rp.prune(model, HALF)


def test_the_users_images_come_before_inputs_that_are_drawn(tmp_path):
    path = tmp_path / "images.npz"
    np.savez(path, x=RNG.random((32, 8, 32, 32)).astype(np.float32))
    model = network(UNSTABLE, inputs="float[N, 8, 32, 32] x", million=np.array(1e6))
    settings = rp.Settings(
        sparsity=0.5,
        method="l1",
        recover="none",
        allocation="uniform",
        calibration=str(path),
        preprocess="layout=nchw",
    )
    proof = rp.prune(model, settings).report["verification"]
    assert proof["passed"]
    assert proof["inputs"] == ["the --calibration images"]


def test_a_refusal_says_which_inputs_were_tried():
    """Here the sine is amplified whatever the inputs are."""
    tail = UNSTABLE.replace("ReduceMax <keepdims = 1> (b)", "Add (b, million)")
    with pytest.raises(VerificationError) as error:
        rp.prune(network(tail, million=np.array(1e6)), HALF)
    assert "amplifies rounding" in str(error.value)
    for draw in DRAWS:
        assert draw.name in str(error.value)


LENGTHS = """j = Cast <to = 1> (n)
    y = Mul (s, j)"""


def test_whole_numbers_are_small_and_positive_before_they_are_zero():
    """Zero lengths would make every output zero."""
    model = network(LENGTHS, inputs="float[1, 8, 32, 32] x, int32[1] n")
    proof = rp.prune(model, HALF).report["verification"]
    assert proof["passed"]
    assert proof["inputs"] == ["N(0, 1)"]
    session = Session(model.proto, optimize=False)
    shapes = {"x": (1, 8, 32, 32), "n": (1,)}
    drawn = {
        kind.name: {int(f["n"][0]) for f, _ in runs(model.proto, session, shapes, kind)}
        for kind in kinds()
    }
    assert min(drawn["N(0, 1)"]) >= 1
    assert max(drawn["N(0, 1)"]) <= 3


def test_a_model_that_takes_only_ones_or_zeros_gets_them():
    """A table of one row has no second: the indices of the first two kinds lead beyond it."""
    tail = "c = Gather <axis = 0> (table, n)\n y = Mul (s, c)"
    inputs = "float[1, 8, 32, 32] x, int64[1] n"
    model = network(tail, inputs=inputs, table=np.ones((1, 1)))
    proof = rp.prune(model, HALF).report["verification"]
    assert proof["passed"]
    assert proof["inputs"] == ["a tenth of N(0, 1)"]


CHOICE = """<ir_version: 8, opset_import: ["" : 17]>
g (float[1, 3, 8, 8] x, int64 rate, bool[1] flag, int64[2] two) => (float[1, 3, 8, 8] y) {
    [w] wanted = Constant <value = int64 {16000}> ()
    narrow = Cast <to = 7> (rate)
    same = Equal (narrow, wanted)
    y = If (same) <
        then_branch = a () => (float[1, 3, 8, 8] p) { p = Neg (x) },
        else_branch = b () => (float[1, 3, 8, 8] q) {
            eight = Constant <value = int64 {8000}> ()
            less = Less (rate, eight)
            q = If (less) <
                then_branch = c () => (float[1, 3, 8, 8] u) { u = Abs (x) },
                else_branch = d () => (float[1, 3, 8, 8] v) { v = Relu (x) }
            >
        }
    >
}"""


def test_inputs_that_branches_are_chosen_by_get_the_values_that_the_graph_knows():
    proto = onnx.parser.parse_model(CHOICE)
    assert branch_values(proto) == {"rate": [8000, 16000, 16001], "flag": [True, False]}
    session = Session(proto, optimize=False)
    shapes = {"x": (1, 3, 8, 8), "rate": (), "flag": (1,), "two": (2,)}
    fed = [f for f, _ in runs(proto, session, shapes)]
    assert [int(f["rate"]) for f in fed] == [8000, 16000]
    assert [bool(f["flag"][0]) for f in fed] == [True, False]


def test_sizes_that_do_not_fit_are_named():
    model = network("z = Reshape (s, want)\n y = Relu (z)", want=np.array([1, 8, 1024]))
    proto = model.proto
    for axis in (2, 3):
        proto.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"side{axis}"
    session = Session(proto, optimize=False)
    with pytest.raises(rp.RepruneError, match=r"at x = 1×8×7×7; give .* --input-shape x=…"):
        list(runs(proto, session, {"x": (1, 8, 7, 7)}))


def test_what_vanishes_in_float16_is_proven_in_float32(monkeypatch):
    """Activations of an untrained network, of 1e-11 here, are zero in float16."""
    model = network("y = Cast <to = 1> (s)", inputs="float16[1, 8, 8, 8] x")
    for tensor in model.proto.graph.initializer:
        array = numpy_helper.to_array(tensor).astype(np.float16) * np.float16(1e-5)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    proof = rp.prune(model, HALF).report["verification"]
    assert proof["passed"]
    assert proof["inputs"] == ["N(0, 1), in float32"]
    assert proof["tolerance"] == 1e-4
    real = verification.FedModel

    def wrong(proto, *wide):
        made = real(proto, *wide)
        place = next(n for n in made.proto.graph.node if n.name == "reader")
        weight = next(t for t in proto.graph.initializer if t.name == "second")
        made.rewire(place, 1, np.roll(numpy_helper.to_array(weight), 1, axis=1))
        return made

    monkeypatch.setattr(verification, "FedModel", wrong)
    with pytest.raises(VerificationError, match="differs from the masked original"):
        rp.prune(model, HALF)


@pytest.mark.parametrize("steps", [1, 10_000])
def test_a_step_of_what_vanishes_in_float16_is_rounding(monkeypatch, steps):
    """An output of the smallest step there is may be zero in the pruned model; not one of many."""
    model = network("y = Cast <to = 1> (s)", inputs="float16[1, 8, 8, 8] x")
    for tensor in model.proto.graph.initializer:
        array = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    real, step = verification._worst, 2.0**-24

    def first(pruned, tried, *more):
        worst, recorded = real(pruned, tried, *more)
        if all(a.dtype != np.float16 for feeds, _ in tried for a in feeds.values()):
            return worst, recorded
        return verification.Difference(steps * step, steps * step), recorded

    monkeypatch.setattr(verification, "_worst", first)
    if steps > 1:
        with pytest.raises(VerificationError, match="differs from the masked original"):
            rp.prune(model, HALF)
        return
    assert rp.prune(model, HALF).report["verification"]["inputs"] == ["N(0, 1), in float32"]
