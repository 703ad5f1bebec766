"""Where all |γ| are equal they do not tell layers apart, and the report says so."""

from __future__ import annotations

import numpy as np
from text_graphs import model

import reprune_onnx as rp

NETWORK = """<ir_version: 8, opset_import: ["": 17]>
g (float[1,3,8,8] x) => (float[1,2,8,8] y) {
  a = Conv (x, first)
  b = BatchNormalization (a, gamma, zero, zero, one)
  r = Relu (b)
  c = Conv (r, second)
  d = BatchNormalization (c, gamma, zero, zero, one)
  y = Conv (d, head)
}"""


def pruned(gamma: np.ndarray) -> rp.Pruned:
    rng = np.random.default_rng(6)
    network = model(
        NETWORK,
        first=rng.standard_normal((8, 3, 1, 1)),
        second=rng.standard_normal((8, 8, 1, 1)),
        head=rng.standard_normal((2, 8, 1, 1)),
        gamma=gamma,
        zero=np.zeros(8),
        one=np.ones(8),
    )
    return rp.prune(rp.Model(network), rp.Settings(sparsity=0.5, method="l1", recover="none"))


def test_the_allocation_is_uniform_and_said_to_be() -> None:
    report = pruned(np.ones(8)).report
    assert [layer["out_channels"] for layer in report["layers"]] == [[8, 4], [8, 4], [2, 2]]
    assert any("all |γ| are equal" in note for note in report["notes"])


def test_where_they_differ_nothing_of_the_kind_is_said() -> None:
    report = pruned(np.linspace(0.5, 2, 8)).report
    assert not any("all |γ| are equal" in note for note in report["notes"])
