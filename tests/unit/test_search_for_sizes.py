"""The search for sizes: its order, what is never run on the way, inputs that share a batch."""

from __future__ import annotations

import numpy as np
import pytest
import text_graphs

import reprune_onnx as rp
from reprune_onnx.runtime.tried_sizes import tried_sizes
from reprune_onnx.safe_inference import without_weights
from reprune_onnx.sizes.fitting import fits, fitting_shapes
from reprune_onnx.sizes.needs import integers

WHOLE = np.ones((4, 3, 1, 1), np.int64)
RNG = np.random.default_rng(1)


def test_what_fails_earlier_says_nothing_of_a_need():
    """Case 8374 of seed 10: starts that a node before the needy one refuses used up all runs."""
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[n, 3, h, w] x) => (float[] y) {
        a = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, first)
        s = Shape (a)
        n_all = Gather (s, one)
        half = Div (n_all, two)
        p = Slice (a, zero, half, one)
        q = Slice (a, half, n_all, one)
        j = Concat <axis = 1> (q, p)
        v = Conv (j, mixed)
        d = SpaceToDepth <blocksize = 2> (v)
        b = Conv <pads = [1, 1, 1, 1]> (d, second)
        c = Conv (d, third)
        m = GlobalAveragePool (c)
        k = Transpose <perm = [1, 0, 2, 3]> (m)
        e = ConvTranspose (b, k)
        [by_two] f = Conv (e, fourth)
        y = Reshape (f, to)
    }"""
    rng = np.random.default_rng(0)
    kernels = {
        "first": (6, 3, 3, 3),
        "mixed": (7, 6, 1, 1),
        "second": (2, 28, 3, 3),
        "third": (2, 28, 1, 1),
        "fourth": (3, 2, 1, 1),
    }
    weights = {name: rng.standard_normal(extents) for name, extents in kernels.items()}
    numbers = {"zero": [0], "one": [1], "two": [2], "to": [2, 12]}
    weights |= {name: np.array(values) for name, values in numbers.items()}
    proto = text_graphs.model(text, **weights)
    assert fitting_shapes(proto, {}).shapes == {"x": (2, 3, 8, 8)}


def test_what_the_graph_computes_of_shapes_is_known():
    """Case 6316 of seed 11: behind a computed half nothing was known but the Gemm's columns."""
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[n, 3, h, w] x, float[n, 3, h, w] z) => (float[] y) {
        a = Conv (x, first)
        s = Shape (a)
        c = Gather (s, one)
        half = Div (c, two)
        p = Slice (a, zero, half, one)
        q = Conv (z, second)
        r = Add (p, q)
        m = GlobalAveragePool (r)
        k = Transpose <perm = [1, 0, 2, 3]> (m)
        e = ConvTranspose (r, k)
        f = Conv (e, third)
        g = Flatten (f)
        [t] y = Gemm (g, matrix)
    }"""
    rng = np.random.default_rng(0)
    extents = {"first": (8, 3, 1, 1), "second": (4, 3, 1, 1), "third": (3, 2, 1, 1)}
    weights = {name: rng.standard_normal(e) for name, e in extents.items()}
    weights |= {"zero": np.array([0]), "one": np.array([1]), "two": np.array([2])}
    proto = text_graphs.model(text, matrix=rng.standard_normal((192, 5)), **weights)
    assert fitting_shapes(proto, {}).shapes == {"x": (2, 3, 8, 8), "z": (2, 3, 8, 8)}


def test_a_copy_without_weights_is_looked_at_too():
    """Case 2388 of seed 12: small weights have shapes there, and no values."""
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[n, 3, 8, 8] x) => (float[] y) { y = Conv (x, kernel) }"""
    proto = without_weights(text_graphs.model(text, kernel=np.ones((4, 3, 1, 1))))
    assert fits(proto, {"x": (1, 3, 8, 8)})
    assert not fits(proto, {"x": (1, 4, 8, 8)})
    assert integers(without_weights(text_graphs.model(text, kernel=WHOLE)).graph) == {}


@pytest.mark.parametrize(("to", "fitting"), [((2, 128), (2, 3, 8, 8)), ((3, 7), None)])
def test_no_size_that_takes_more_than_a_proof_may_is_left_to_it(to, fitting):
    """Case 8693 of seed 10: nothing told why the assumed size did not fit, and it took 20 GB."""
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[n, 3, h, w] x) => (float[] y) {
        r = Conv (x, kernel)
        a = Reshape (r, flat)
        t = Transpose <perm = [0, 2, 1]> (a)
        m = MatMul (t, a)
        b = MatMul (a, m)
        s = Shape (r)
        back = Reshape (b, s)
        c = Gather (s, one)
        half = Div (c, two)
        z = Slice (back, zero, half, one)
        y = Reshape (z, to)
    }"""
    numbers = {"zero": [0], "one": [1], "two": [2], "flat": [0, 4, -1], "to": to}
    weights = {name: np.array(values) for name, values in numbers.items()}
    proto = text_graphs.model(text, kernel=np.ones((4, 3, 1, 1)), **weights)
    if fitting is not None:
        assert fitting_shapes(proto, {}).shapes == {"x": fitting}
        return
    with pytest.raises(rp.ModelError, match=r"makes [\d,]+ numbers.*--input-shape x=…"):
        fitting_shapes(proto, {})


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
    pruned = rp.prune(rp.Model(proto), settings)
    assert pruned.report["verification"]["passed"]
    assert fitting_shapes(proto, {}).shapes["state"] == (2, 1, 8)


def test_no_size_is_tried_at_which_attention_takes_minutes() -> None:
    """At the assumed 224 and twice that after the layer, places are compared 4·10¹⁰ times."""
    proto = text_graphs.model(
        """<ir_version: 8, opset_import: ["": 17, "com.microsoft": 1]>
        g (float[n,3,h,w] x) => (float[n,32,4] y) {
        t = ConvTranspose <strides = [2,2]> (x, t_w)  r = Reshape (t, flat)
        s = Transpose <perm = [0,2,1]> (r)
        a = com.microsoft.MultiHeadAttention <num_heads = 1> (s, s, s)
        y = Reshape (a, last) }""",
        t_w=np.zeros((3, 4, 2, 2)),
        flat=np.array([0, 4, -1]),
        last=np.array([-1, 256, 4]),
    )
    runs = tried_sizes(proto)

    assert not runs({"x": (1, 3, 224, 224)})
    assert runs({"x": (1, 3, 8, 8)})
