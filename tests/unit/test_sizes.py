"""Sizes that fit what is fixed inside a model, where it leaves them open outside."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import text_graphs

import reprune_onnx as rp
from reprune_onnx.runtime import tried_sizes
from reprune_onnx.sizes import reach
from reprune_onnx.sizes.fitting import fitting_shapes

RNG = np.random.default_rng(1)
HALF = rp.Settings(sparsity=0.5, method="l1", recover="none", allocation="uniform")
LAYERS = """[a] p = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, first)
    [b] q = Relu (p)
    [c] r = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (q, second)"""


def model(tail: str, inputs: str, domain: str = "", **weights: object) -> onnx.ModelProto:
    opset = 18 if "GroupNormalization" in tail else 17
    text = f"""<ir_version: 8, opset_import: ["" : {opset}{domain}]>
    g ({inputs}) => (float[] y) {{
        {LAYERS}
        {tail}
    }}"""
    weights_ = {
        "first": RNG.standard_normal((16, 3, 3, 3)),
        "second": RNG.standard_normal((8, 16, 3, 3)),
    }
    return text_graphs.model(text, **weights_, **weights)


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


TABLE = RNG.integers(0, 2, (2, 8, 5, 5))
BATCH_AND_SIDES = {
    "two images, stated in the middle": (
        "[t] y = Reshape (r, to)",
        {"to": np.array([2, 2, 4, 5, 5])},
        (2, 3, 20, 20),
    ),
    "two images as one": (
        "[t] y = Reshape (r, to)",
        {"to": np.array([1, 16, 5, 5])},
        (2, 3, 20, 20),
    ),
    "one node wants the images and another the sides": (
        """k, c = Split <axis = 1> (r, parts)
        m = GlobalAveragePool (k)
        [t] s = Reshape (m, pair)
        f = Flatten (c)
        [u] y = Gemm (f, w)""",
        {
            "parts": np.array([4, 4]),
            "pair": np.array([2, 4, 1]),
            "w": RNG.standard_normal((4 * 49, 5)),
        },
        (2, 3, 28, 28),
    ),
    "a matrix behind means along rows": (
        """m = ReduceMean <axes = [2], keepdims = 0> (r)
        f = Flatten (m)
        [t] y = Gemm (f, w)""",
        {"w": RNG.standard_normal((8 * 3, 5))},
        (1, 3, 12, 12),
    ),
    "places in the second image": (
        "y = GatherElements <axis = 2> (r, places)",
        {"places": TABLE},
        (2, 3, 224, 224),
    ),
    "behind a norm that ONNX does not know": (
        """last = Transpose <perm = [0, 2, 3, 1]> (r)
        flat = Reshape (last, rows)
        n, , , = com.microsoft.SkipSimplifiedLayerNormalization (flat, flat, gamma)
        [t] y = Reshape (n, to)""",
        {
            "rows": np.array([0, -1, 8]),
            "gamma": RNG.standard_normal(8),
            "to": np.array([2, 5, 5, 8]),
        },
        (2, 3, 20, 20),
    ),
    "behind an extent that is computed": (
        """shape = Shape (r)
        n = Gather <axis = 0> (shape, one)
        half = Div (n, two)
        part = Slice (r, zero, half, one)
        f = Flatten (part)
        [t] y = Gemm (f, w)""",
        {
            "one": np.array([1]),
            "two": np.array([2]),
            "zero": np.array([0]),
            "w": RNG.standard_normal((4 * 9, 5)),
        },
        (1, 3, 12, 12),
    ),
    "before a norm whose type onnx does not infer": (
        """m = GlobalAveragePool (r)
        s = Reshape (m, to)
        t = Reshape (s, back)
        u = Mul (r, t)
        n = GroupNormalization <num_groups = 2> (u, ones, ones)
        y = Relu (n)""",
        {"to": np.array([2, 2, 4]), "back": np.array([2, 8, 1, 1]), "ones": np.ones(2)},
        (2, 3, 224, 224),
    ),
    "a scale of stated width, and two images behind it": (
        """n = LayerNormalization <axis = -1> (r, scale)
        y = Reshape (n, to)""",
        {"scale": np.ones(7), "to": np.array([2, 8 * 49])},
        (2, 3, 28, 28),
    ),
    "a map of two images beside": (
        "y = Concat <axis = 1> (r, map)",
        {"map": RNG.standard_normal((2, 3, 6, 6))},
        (2, 3, 24, 24),
    ),
    "a map of two images, to which one is added": (
        "y = Add (map, r)",
        {"map": RNG.standard_normal((2, 8, 6, 6))},
        (1, 3, 24, 24),
    ),
    "two images, and sides behind an op that ONNX does not know": (
        """m = GlobalAveragePool (r)
        pair = Reshape (m, two)
        n = com.microsoft.Pad (r, nothing)
        y = Reshape (n, to)""",
        {
            "two": np.array([2, 4, 2]),
            "to": np.array([2, 8 * 36]),
            "nothing": np.zeros(8, np.int64),
        },
        (2, 3, 24, 24),
    ),
    "two images as one, before what fits any, behind an op that ONNX does not know": (
        """n = com.microsoft.Pad (r, nothing)
        f = Reshape (n, to)
        k = Reshape (n, pairs)
        l = Reshape (k, fours)
        some = ReduceMean <keepdims = 0> (f)
        others = ReduceMean <keepdims = 0> (l)
        y = Add (some, others)""",
        {
            "to": np.array([1, 16, 5, 5]),
            "pairs": np.array([-1, 2]),
            "fours": np.array([-1, 4]),
            "nothing": np.zeros(8, np.int64),
        },
        (2, 3, 20, 20),
    ),
    "groups of a convolution, made of two images": (
        """m = GlobalAveragePool (r)
        k = Reshape (m, kernels)
        f = Reshape (r, maps)
        y = Conv <group = 16> (f, k)""",
        {"kernels": np.array([-1, 1, 1, 1]), "maps": np.array([1, -1, 6, 6])},
        (2, 3, 24, 24),
    ),
    "what is repeated to two images beside": (
        """m = GlobalMaxPool (r)
        e = Expand (m, sides)
        y = Concat <axis = 1> (e, r)""",
        {"sides": np.array([2, 8, 5, 5])},
        (2, 3, 20, 20),
    ),
    "a shape that is computed in part, behind another batch": (
        """at = Transpose <perm = [2, 3, 0, 1]> (r)
        m = GlobalAveragePool (r)
        u = Reshape (m, pair)
        v = Concat <axis = 0> (u, u)
        n = ScatterND (at, corners, v)
        k = Transpose <perm = [2, 3, 0, 1]> (n)
        shape = Shape (k)
        images = Slice (shape, zero, one)
        to = Concat <axis = 0> (images, rest)
        y = Reshape (k, to)""",
        {
            "pair": np.array([1, 2, -1]),
            "corners": np.array([[0, 0], [5, 5]]),
            "zero": np.array([0]),
            "one": np.array([1]),
            "rest": np.array([8, 36]),
        },
        (2, 3, 24, 24),
    ),
    "pairs of three channels, then sides, behind an extent that is computed": (
        """shape = Shape (r)
        n = Gather <axis = 0> (shape, one)
        half = Div (n, two)
        part = Slice (r, zero, half, one)
        k = Conv (part, third)
        m = GlobalAveragePool (k)
        [t] s = Reshape (m, pair)
        v = ReduceMean <axes = [2], keepdims = 0> (s)
        column = Transpose (v)
        [u] rows = Reshape (part, to)
        y = Add (rows, column)""",
        {
            "one": np.array([1]),
            "two": np.array([2]),
            "zero": np.array([0]),
            "third": RNG.standard_normal((3, 4, 1, 1)),
            "pair": np.array([1, 2, -1]),
            "to": np.array([2, 100]),
        },
        (2, 3, 20, 20),
    ),
    "rows written for three images": (
        """at = Transpose <perm = [2, 3, 0, 1]> (r)
        y = ScatterND (at, corner, rows)""",
        {"corner": np.array([[0, 0]]), "rows": RNG.standard_normal((1, 3, 8))},
        (3, 3, 224, 224),
    ),
    "elements written for three images": (
        "y = ScatterElements <axis = 2> (r, places, elements)",
        {"places": np.zeros((3, 8, 5, 5), np.int64), "elements": np.zeros((3, 8, 5, 5))},
        (3, 3, 224, 224),
    ),
    "a grid of three images": (
        "y = GridSample (r, grid)",
        {"grid": RNG.uniform(-1, 1, (3, 4, 4, 2))},
        (3, 3, 224, 224),
    ),
    "a map of a stated side in a minimum": (
        """k = Neg (r)
        y = Min (map, r, k)""",
        {"map": RNG.standard_normal((11, 11))},
        (1, 3, 44, 44),
    ),
    "slopes of stated positions": (
        "y = PRelu (r, slopes)",
        {"slopes": RNG.standard_normal((8, 11, 11))},
        (1, 3, 44, 44),
    ),
    "an image of a stated side beside": (
        """e = Expand (r, sides)
        y = Concat <axis = 1> (r, e)""",
        {"sides": np.array([1, 8, 7, 7])},
        (1, 3, 28, 28),
    ),
}


@pytest.mark.parametrize("case", BATCH_AND_SIDES)
def test_the_number_of_images_and_their_sides_are_found_together(case):
    tail, weights, shape = BATCH_AND_SIDES[case]
    domain = ', "com.microsoft" : 1' if "com.microsoft" in tail else ""
    proto = model(tail, OPEN, domain=domain, **weights)
    assert fitting_shapes(proto, {}).shapes["x"] == shape
    report = rp.prune(rp.Model(proto), HALF).report
    assert report["verification"]["passed"]
    assert any("sizes of inputs are open" in note for note in report["notes"])


ALL_POSITIONS = """flat = Reshape (r, rows)
        turned = Transpose <perm = [0, 2, 1]> (flat)
        all = MatMul (turned, flat)
        s = Softmax (all)
        t = MatMul (flat, s)
        shape = Shape (r)
        y = Reshape (t, shape)"""


def test_no_size_is_run_that_takes_more_memory_than_a_proof_may(monkeypatch):
    """Attention between all positions of an image: 3136² numbers at the size that is assumed."""
    proto = model(ALL_POSITIONS, OPEN, rows=np.array([0, 0, -1]))
    ran = []
    monkeypatch.setattr(tried_sizes, "random_inputs", lambda *given: ran.append(given[1]))
    monkeypatch.setattr(reach, "_AT_PLACES", {"Softmax"})
    monkeypatch.setattr(reach, "MOST", 2**23)
    monkeypatch.setattr(tried_sizes.Session, "run", lambda *_: {})
    fitted = fitting_shapes(proto, {})
    assert ran == [{"x": fitted.shapes["x"]}] == [{"x": (1, 3, 48, 320)}]
    said = "a node reads and makes 9,884,672 numbers, and a proof holds at most 8,388,608"
    assert said in fitted.note


def test_batches_are_tried_at_small_sides_where_the_assumed_ones_take_too_much(monkeypatch):
    """The second image is read, which only a run tells."""
    tail = ALL_POSITIONS.replace("y = Resh", "z = Resh") + "\n y = GatherND (z, at)"
    weights = {"rows": np.array([0, 0, -1]), "at": np.array([[1]])}
    monkeypatch.setattr(reach, "MOST", 2**20)
    assert fitting_shapes(model(tail, OPEN, **weights), {}).shapes == {"x": (2, 3, 32, 32)}


def test_a_search_names_the_first_node_that_does_not_fit():
    """Behind an op that ONNX does not know only runs tell what comes to a node."""
    tail = """e = com.microsoft.Pad (r, nothing)
        [t] f = Reshape (e, to)
        [u] y = Reshape (f, other)"""
    weights = {
        "nothing": np.zeros(8, np.int64),
        "to": np.array([1, 8, 7 * 1777]),
        "other": np.array([5, 11]),
    }
    proto = model(tail, "float[1, 3, h, 32] x", domain=', "com.microsoft" : 1', **weights)
    with pytest.raises(rp.RepruneError, match=r"Reshape 't' makes 1×8×12439 of 1×8×56×8 at x = "):
        rp.analyze(rp.Model(proto))


def test_sizes_that_fit_as_they_are_assumed_stay():
    proto = model("y = Relu (r)", OPEN)
    sizes = fitting_shapes(proto, {})
    assert sizes.shapes == {"x": (1, 3, 224, 224)}
    assert sizes.note is None


def test_what_the_user_gives_is_not_searched():
    proto = model("y = Reshape (r, to)", OPEN, to=np.array([1, 8, 960]))
    given = {"x": (1, 3, 32, 480)}
    assert fitting_shapes(proto, given).shapes == given
    assert rp.prune(
        rp.Model(proto),
        rp.Settings(sparsity=0.5, method="l1", recover="none", input_shapes=tuple(given.items())),
    ).report["verification"]["passed"]


def test_a_refusal_names_the_sizes_that_were_tried():
    """Of eight channels an odd number is never made."""
    proto = model("[t] y = Reshape (r, to)", OPEN, to=np.array([1, 7, 1777]))
    with pytest.raises(rp.RepruneError) as error:
        rp.prune(rp.Model(proto), HALF)
    said = str(error.value)
    assert "Reshape 't' makes 1×7×1777 of 1×8×56×56 at x = 1×3×224×224, which is assumed" in said
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
