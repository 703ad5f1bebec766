"""Sizes that fit what is fixed inside a model, where it leaves them open outside."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import text_graphs

import reprune_onnx as rp
from reprune_onnx.sizes import fitting_shapes

RNG = np.random.default_rng(1)
HALF = rp.Settings(sparsity=0.5, method="l1", recover="none", allocation="uniform")
LAYERS = """[a] p = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, first)
    [b] q = Relu (p)
    [c] r = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (q, second)"""


def model(tail: str, inputs: str, opset: int = 17, **weights: object) -> onnx.ModelProto:
    text = f"""<ir_version: 8, opset_import: ["" : {opset}]>
    g ({inputs}) => (float[] y) {{
        {LAYERS}
        {tail}
    }}"""
    own = {
        "first": RNG.standard_normal((16, 3, 3, 3)),
        "second": RNG.standard_normal((8, 16, 3, 3)),
    }
    return text_graphs.model(text, **own, **weights)


OPEN = "float[b, 3, h, w] x"
CASES = {
    "a line of text": (OPEN, "[t] y = Reshape (r, to)", {"to": np.array([-1, 8, 960])}, (48, 320)),
    "a line of text, batch 1": (
        OPEN,
        "[t] y = Reshape (r, to)",
        {"to": np.array([1, 8, 960])},
        (48, 320),
    ),
    "a square": (OPEN, "[t] y = Reshape (r, to)", {"to": np.array([1, 8, 400])}, (80, 80)),
    "a height": (
        "float[picture, 3, 40, wide] x",
        "[t] y = Reshape (r, to)",
        {"to": np.array([1, 8, 10, 24])},
        (40, 96),
    ),
    "a flattened Gemm": (
        "float[b, 3, h, h] x",
        "f = Flatten (r)\n [t] y = Gemm (f, m)",
        {"m": RNG.standard_normal((8 * 28 * 28, 5))},
        (112, 112),
    ),
    "a shape that the graph computes": (
        OPEN,
        """s = Shape <start = 0, end = 1> (r)
        u = Concat <axis = 0> (s, to)
        [t] y = Reshape (r, u)""",
        {"to": np.array([8, 960])},
        (48, 320),
    ),
    "positions that are added": (
        OPEN,
        "[t] y = Add (r, table)",
        {"table": RNG.standard_normal((1, 8, 96, 96))},
        (384, 384),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_sizes_are_found_from_what_fits_and_told(case):
    inputs, tail, weights, sides = CASES[case]
    proto = model(tail, inputs, **weights)
    report = rp.prune(rp.Model(proto), HALF).report
    assert report["verification"]["passed"]
    (note,) = [n for n in report["notes"] if "sizes of inputs are open" in n]
    assert f"x = 1×3×{sides[0]}×{sides[1]} fits" in note
    assert "which is assumed, does not" in note
    assert rp.analyze(rp.Model(proto)).input_shapes["x"][2:] == sides


def test_sizes_that_fit_as_they_are_assumed_stay():
    proto = model("y = Relu (r)", OPEN)
    found = fitting_shapes(proto, {})
    assert found.shapes == {"x": (1, 3, 224, 224)}
    assert found.note == ""


def test_what_the_user_gives_is_not_searched():
    proto = model("y = Reshape (r, to)", OPEN, to=np.array([1, 8, 960]))
    given = {"x": (1, 3, 32, 480)}
    assert fitting_shapes(proto, given).shapes == given
    assert rp.prune(
        rp.Model(proto),
        rp.Settings(sparsity=0.5, method="l1", recover="none", input_shapes=tuple(given.items())),
    ).report["verification"]["passed"]


def test_a_refusal_names_the_sizes_that_were_tried():
    """7 × 1,777 positions: no common size has them."""
    proto = model("[t] y = Reshape (r, to)", OPEN, to=np.array([1, 8, 7 * 1777]))
    with pytest.raises(rp.RepruneError) as error:
        rp.prune(rp.Model(proto), HALF)
    said = str(error.value)
    assert "Reshape 't' makes 1×8×12439 of 1×8×56×56 at x = 1×3×224×224, which is assumed" in said
    assert "--input-shape x=" in said
    assert "other sizes do not fit, from x = " in said


def test_a_node_that_fits_no_size_is_no_error_of_numpy():
    proto = model("y = Reshape (r, to)", "float[1, 3, 32, 32] x", to=np.array([-1, 8, 100]))
    with pytest.raises(rp.RepruneError) as error:
        rp.analyze(rp.Model(proto))
    assert "ValueError" not in str(error.value)
    assert "cannot reshape" not in str(error.value)
    assert "'r' is 1×8×8×8" in str(error.value)
    assert "at x = 1×3×32×32 (--input-shape gives other sizes)" in str(error.value)


STATE = """<ir_version: 8, opset_import: ["" : 17]>
g (float[batch, n] x, float[2, open, 8] state) => (float[] y, float[] next) {
    u = Unsqueeze (x, one)
    [a] p = Conv <pads = [1, 1]> (u, first)
    [b] q = Relu (p)
    [c] r = Conv <pads = [1, 1], strides = [4]> (q, second)
    m = ReduceMean <axes = [2], keepdims = 0> (r)
    s = Unsqueeze (m, zero)
    h = Slice (state, zero, one, zero)
    k, next = LSTM <hidden_size = 8> (s, W, R, , , h)
    y = Relu (k)
}"""


def test_a_recurrent_state_is_of_one_batch():
    weights = {
        "first": RNG.standard_normal((16, 1, 3)),
        "second": RNG.standard_normal((8, 16, 3)),
        "W": RNG.standard_normal((1, 32, 8)),
        "R": RNG.standard_normal((1, 32, 8)),
        "one": np.array([1]),
        "zero": np.array([0]),
    }
    proto = text_graphs.model(STATE, **weights)
    settings = rp.Settings(
        sparsity=0.5, method="l1", recover="none", input_shapes=(("x", (1, 512)),)
    )
    found = rp.prune(rp.Model(proto), settings)
    assert found.report["verification"]["passed"]
    assert fitting_shapes(proto, {}).shapes["state"] == (2, 1, 8)
