"""Multiply-adds of matrices that channels pass: they are counted, and go with the channels."""

import numpy as np
import pytest
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.pruner.measure import cost
from reprune_onnx.pruner.multilinear import multilinear

RNG = np.random.default_rng(3)
MIXER = """<ir_version: 8, opset_import: ["": 17]>
g (float[1,3,4,4] x) => (float[1,5] y) {
  a = Conv (x, w1)
  s = Constant <value = int64[3] {1, -1, 16}> ()
  t = Reshape (a, s)
  m = MatMul (t, tokens)
  r = Relu (m)
  k = MatMul (r, back)
  p = ReduceMean <axes = [2], keepdims = 0> (k)
  y = MatMul (p, head)
}"""


@pytest.mark.parametrize(("n", "hidden"), [(8, 6), (5, 9)])
def test_a_mixer_of_tokens_costs_what_its_channels_pass(n: int, hidden: int) -> None:
    shapes = {
        "w1": (n, 3, 1, 1),
        "tokens": (16, hidden),
        "back": (hidden, 16),
        "head": (n, 5),
    }
    proto = model(MIXER, **{k: RNG.standard_normal(s) for k, s in shapes.items()})
    channels = rp.analyze(rp.Model(proto), rp.Scope(residual="prune"))
    mixing = 2 * 16 * hidden
    assert cost(channels).macs == 16 * 3 * n + mixing * n + 5 * n
    (group,) = [g for g in channels.groups if g.free.any()]
    keep = np.ones(channels.n_units, dtype=bool)
    keep[group.units[:2]] = False
    assert cost(channels, keep).macs == (16 * 3 + mixing + 5) * (n - 2)
    expected = multilinear(channels, [group], "macs")
    assert expected(np.array([n - 2])) == cost(channels, keep).macs
    settings = rp.Settings(macs_reduction=0.5, residual="prune", recover="none")
    report = rp.prune(rp.Model(proto), settings).report
    assert report["after"]["macs"] == report["before"]["macs"] * (
        report["layers"][0]["out_channels"][1] / n
    )
