"""Models in which no layer was found: what is said is true, and names the nodes."""

from __future__ import annotations

import numpy as np
import pytest
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.errors import ModelError

QUANT = """<ir_version: 8, opset_import: ["" : 17, "some.tool" : 1]>
g (float[1,3,9,9] x) => (float[1,4,9,9] y) {
  [scaled] q = some.tool.Scaled (w, s)
  p = Identity (q)
  [first] h = Conv (x, p)
  [own] r = some.tool.Scaled (v, s)
  [second] y = Conv (h, r)
}"""
LOOPS = """<ir_version: 8, opset_import: ["" : 17]>
g (float[1,3,9,9] x, bool flag, int64 n) => (float[1,3,9,9] y) {
  y = Loop (n, flag, x) <body = once (int64 k, bool go, float[1,3,9,9] a) =>
    (bool on, float[1,3,9,9] b) {
      on = Identity (go)
      c = Conv (a, w)
      d = Conv (c, v)
      b = If (go) <
        then_branch = more () => (float[1,3,9,9] e) { e = Conv (d, u) },
        else_branch = less () => (float[1,3,9,9] f) { f = MatMul (d, m) }>
    }>
}"""


def test_nodes_of_another_domain_before_every_weight() -> None:
    proto = model(QUANT, w=np.ones((6, 3, 1, 1)), v=np.ones((4, 6, 1, 1)), s=np.float32(2))

    with pytest.raises(ModelError) as caught:
        rp.analyze(rp.Model(proto))

    said = str(caught.value)
    assert "weights of 2 of 2 layers, such as Conv 'first'" in said
    assert "the domain 'some.tool', such as Scaled 'scaled'" in said


def test_the_same_nodes_of_the_standard_are_followed() -> None:
    standard = QUANT.replace("some.tool.Scaled", "Mul")
    proto = model(standard, w=np.ones((6, 3, 1, 1)), v=np.ones((4, 6, 1, 1)), s=np.float32(2))

    assert rp.analyze(rp.Model(proto)).groups[0].free.all()


def test_layers_of_no_constant_weight() -> None:
    proto = model(
        """<ir_version: 8, opset_import: ["" : 17]>
        g (float[1,3,9,9] x, float[4,3,1,1] w) => (float[1,4,9,9] y) { [only] y = Conv (x, w) }"""
    )

    with pytest.raises(ModelError, match=r"none of 1 layers, such as Conv 'only',.*'w' depends"):
        rp.analyze(rp.Model(proto))


def test_no_layer_at_all() -> None:
    proto = model(
        """<ir_version: 8, opset_import: ["" : 17]>
        g (float[1,3] x) => (float[1,3] y) { y = Relu (x) }"""
    )

    with pytest.raises(ModelError, match=r"no layer with weights \(Conv, .*Gemm, .*LSTM"):
        rp.analyze(rp.Model(proto))


def test_layers_in_bodies_are_counted() -> None:
    weights = {name: np.ones((3, 3, 1, 1)) for name in ("w", "v", "u")}

    with pytest.raises(ModelError) as caught:
        rp.analyze(rp.Model(model(LOOPS, m=np.ones((9, 9)), **weights)))

    assert str(caught.value) == (
        "nothing can be pruned: 3 Conv nodes stand in bodies of Loop, 1 MatMul node stands in a"
        " body of Loop, which are not looked into (loops are followed where they stand in the main"
        " graph and run a fixed number of times, in at most 4,096 nodes: export the model with"
        " fixed sizes)"
    )
