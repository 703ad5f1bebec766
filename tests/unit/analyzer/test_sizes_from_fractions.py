"""Image sizes that a graph computes by way of fractions, as detectors that scale images do."""

import numpy as np
import onnx
import pytest
import text_graphs

import reprune_onnx as rp
from reprune_onnx.analyzer import Scope, analyze
from reprune_onnx.errors import ModelError, SelectionError
from reprune_onnx.runtime.ort import Session
from reprune_onnx.types import Model

SCALED = """
<ir_version: 8, opset_import: ["" : 17]>
agraph (float[1, 3, h, w] x) => (float[1, 4, p, q] z) {{
    c = Conv <pads = [1, 1, 1, 1]> (x, first)
    s = Shape <start = 2> (c)
    f = Cast <to = 1> (s)
    ratio = Div (wanted, f)
    {kept}
    g = Mul (same, f)
    n = Div (g, three)
    r = {rounding} (n)
    i = Cast <to = 7> (r)
    front = Constant <value = int64[2] {{1, 8}}> ()
    size = Concat <axis = 0> (front, i)
    y = Resize (c, , , size)
    z = Conv (y, second)
}}
"""
DATA = """
<ir_version: 8, opset_import: ["" : 17]>
agraph (float[1, 3, 16, 16] x) => (float[1, 4, p, q] z) {
    a = Abs (x)
    m = ReduceMax <axes = [0, 1, 2, 3], keepdims = 0> (a)
    i = Cast <to = 7> (m)
    n = Add (i, side)
    front = Constant <value = int64[2] {1, 3}> ()
    size = Concat <axis = 0> (front, n)
    r = Resize (x, , , size)
    c = Conv (r, first)
    z = Conv (c, second)
}
"""
RNG = np.random.default_rng(0)
WEIGHTS = {
    "first": RNG.standard_normal((8, 3, 3, 3)),
    "second": RNG.standard_normal((4, 8, 1, 1)),
}


@pytest.mark.parametrize("kept", ["same = Cast <to = 1> (ratio)", "same = CastLike (ratio, f)"])
@pytest.mark.parametrize("rounding", ["Floor", "Ceil", "Round", "Identity"])
def test_a_size_that_was_a_fraction_is_that_of_the_run(kept, rounding):
    text = SCALED.format(kept=kept, rounding=rounding)
    numbers = {"wanted": np.array([10.0, 11.0]), "three": np.array(3.0)}
    model = Model(text_graphs.model(text, **WEIGHTS, **numbers))
    x = RNG.standard_normal((1, 3, 14, 13)).astype(np.float32)
    made = Session(model.proto, optimize=False).run({"x": x})["z"]
    channels = analyze(model, Scope(input_shapes={"x": x.shape}))
    second = next(layer for layer in channels.layers if layer.weight == "second")
    assert second.positions == made.shape[2] * made.shape[3] == {
        "Floor": 9, "Ceil": 16, "Round": 12, "Identity": 9
    }[rounding]  # fmt: skip


def test_unknown_multiply_adds_are_no_target(monkeypatch):
    """Where no run tells them either."""
    monkeypatch.setattr("reprune_onnx.analyzer.measured", lambda graph, layers, shapes: layers)
    numbers = {"side": np.array([8, 8])}
    model = Model(text_graphs.model(DATA, **WEIGHTS, **numbers))
    settings = {"method": "l1", "recover": "none"}
    with pytest.raises(SelectionError, match=r"multiply-adds .* are not known, because the sizes"):
        rp.prune(model, rp.Settings(macs_reduction=0.3, **settings))
    report = rp.prune(model, rp.Settings(sparsity=0.5, **settings)).report
    assert report["verification"]["passed"]
    assert any("multiply-adds of these are not counted" in note for note in report["notes"])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("op", ["Mul", "Div", "Add", "Mod", "Pow"])
@pytest.mark.parametrize("value", ["nan", "inf", "3e38"])
def test_sizes_that_are_no_numbers_are_not_followed(op, value):
    fmod = "<fmod = 1>" if op == "Mod" else ""
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
        g (float[1,3,8,8] x, float[8,3,1,1] w, float[8,8,1,1] v) => (float y) {{
            a = Conv (x, w)
            s = Shape (a)
            f = Cast <to = 1> (s)
            p = {op} {fmod} (f, k)
            q = Floor (p)
            r = {op} {fmod} (k, q)
            i = Cast <to = 7> (r)
            b = Reshape (a, i)
            y = Conv (b, v)
        }}"""
    model = onnx.parser.parse_model(text)
    del model.graph.input[1:]
    for name, shape in (("w", (8, 3, 1, 1)), ("v", (8, 8, 1, 1)), ("k", ())):
        array = np.full(shape, float(value) if name == "k" else 1.0, np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    try:
        channels = rp.analyze(rp.Model(model))
    except ModelError:
        return
    copied = (op, value) == ("Mod", "3e38")  # a multiple of 8 leaves 0: the extents are copied
    assert any(group.free.any() for group in channels.groups) == copied
