"""Small networks reach what was asked for; where they cannot, the line says why."""

from itertools import product

import numpy as np
import onnx
import pytest
import text_graphs

import reprune_onnx as rp
from reprune_onnx.pruner.allocate import nearer
from reprune_onnx.pruner.allocate.multilinear import Multilinear
from reprune_onnx.report.tables import _missed

CHAIN = """
<ir_version: 8, opset_import: ["" : 17]>
chain (float[1, 3, 8, 8] x) => (float[1, 10] y)
{
  a = Conv <pads = [1, 1, 1, 1]> (x, w1)
  b = Relu (a)
  c = Conv <pads = [1, 1, 1, 1]> (b, w2)
  d = Relu (c)
  e = GlobalAveragePool (d)
  f = Flatten (e)
  y = Gemm <transB = 1> (f, w3)
}
"""


def chain(a: int, b: int) -> rp.Model:
    rng = np.random.default_rng(0)
    weights = {
        "w1": rng.standard_normal((a, 3, 3, 3)),
        "w2": rng.standard_normal((b, a, 3, 3)),
        "w3": rng.standard_normal((10, b)),
    }
    proto = text_graphs.model(CHAIN, **weights)
    for k, node in enumerate(proto.graph.node):
        node.name = f"{node.op_type}{k}"
    onnx.checker.check_model(proto)
    return rp.Model(proto)


def reach(model: rp.Model, **options) -> tuple[float, dict | None]:
    report = rp.prune(model, rp.Settings(recover="none", verify=False, **options)).report
    (asked,) = report["requested"]
    return report["achieved"][asked], report["missed"]


def reachable(a: int, b: int) -> np.ndarray:
    """The reductions of multiply-adds of every pair of widths."""
    full = 64 * 9 * (3 * a + a * b) + 10 * b
    pairs = product(range(1, a + 1), range(1, b + 1))
    return np.array([1 - (64 * 9 * (3 * i + i * j) + 10 * j) / full for i, j in pairs])


@pytest.mark.parametrize("allocation", ["uniform", "bn-gamma"])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.45, 0.7])
@pytest.mark.parametrize("sizes", [(12, 12), (5, 9), (7, 3)])
def test_a_small_network_comes_as_near_as_any_pair_of_widths(sizes, share, allocation):
    reached, _ = reach(chain(*sizes), macs_reduction=share, allocation=allocation)
    best = np.abs(reachable(*sizes) - share).min()
    assert abs(reached - share) <= max(best, 0.0025) + 1e-6


def test_one_number_alone_does_not_come_as_near():
    """The control: equal shares of both layers, as without exchanges, miss by much more."""
    full = 64 * 9 * (3 * 12 + 144) + 120
    equal = [1 - (64 * 9 * (3 * k + k * k) + 10 * k) / full for k in range(1, 13)]
    assert np.abs(np.array(equal) - 0.3).min() > 0.02
    assert np.abs(reachable(12, 12) - 0.3).min() < 0.0025


def test_the_smallest_change_that_is_near_is_taken():
    cost = Multilinear(np.ones(1), np.zeros((1, 2)), np.eye(2)[None])
    choices = [np.arange(1, 13)] * 2
    assert nearer(np.array([9, 9]), choices, cost, (144.0, 81.0)).tolist() == [9, 9]
    assert sorted(nearer(np.array([9, 9]), choices, cost, (144.0, 80.0))) == [8, 10]
    kept = nearer(np.array([9, 9]), choices, cost, (144.0, 85.0), at_least=True)
    assert cost(kept) <= 85


def said(**options) -> str:
    _, missed = reach(chain(*options.pop("sizes")), **options)
    return _missed(missed)


def test_a_target_that_was_reached_needs_no_reason():
    assert said(sizes=(12, 12), macs_reduction=0.3) == ""


def test_steps_of_few_channels_are_named_with_their_neighbours():
    reached, missed = reach(chain(2, 3), macs_reduction=0.25)
    shares = reachable(2, 3)
    assert abs(reached - 0.25) > 0.01
    assert missed["less"] == pytest.approx(shares[shares <= 0.25].max(), abs=1e-6)
    assert missed["more"] == pytest.approx(shares[shares >= 0.25].min(), abs=1e-6)
    line = _missed(missed)
    assert "steps are coarse: a channel of 'Conv2', the smallest, is" in line
    assert f"{missed['less']:.2%} and {missed['more']:.2%} can be reached" in line


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"sparsity": 0.9, "min_channels": 4}, ["--min-channels 4", "a smaller --min-channels"]),
        ({"sparsity": 0.5, "layer": (("Conv*", 11),)}, ["the least that it may (--layer)"]),
        ({"macs_reduction": 0.1, "round_to": 6}, ["rounding", "--round-to 1 allows any width"]),
        ({"sparsity": 0.95, "include": ("Conv0",)}, ["the least that it may", "more --include"]),
    ],
)
def test_what_bounds_it_is_named(options, parts):
    line = said(sizes=(12, 12), **options)
    for part in parts:
        assert part in line


def test_the_command_prints_it(call, tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(chain(2, 3).proto, path)
    result = call("prune", path, "--macs-reduction", "0.25", "--recover", "none")
    assert result.code == 0, result.err
    (line,) = [k for k in result.out.splitlines() if k.startswith("asked for")]
    assert "; steps are coarse: " in line
