"""Multiply-adds of matrices that channels pass: they are counted, and go with the channels."""

import numpy as np
import pytest
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.analyzer import channels_of, graph_of
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.pruner.allocate.multilinear import multilinear
from reprune_onnx.pruner.measure import cost

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
    graph = graph_of(rp.Model(proto))
    channels = channels_of(graph, rp.Scope(residual="prune"))
    mixing = 2 * 16 * hidden
    assert cost(graph, channels).macs == 16 * 3 * n + mixing * n + 5 * n
    (group,) = [g for g in channels.groups if g.free.any()]
    keep = np.ones(channels.n_units, dtype=bool)
    keep[group.units[:2]] = False
    assert cost(graph, channels, keep).macs == (16 * 3 + mixing + 5) * (n - 2)
    expected = multilinear(graph, channels, [group], "macs")
    assert expected(np.array([n - 2])) == cost(graph, channels, keep).macs
    settings = rp.Settings(macs_reduction=0.5, residual="prune", recover="none")
    report = rp.prune(rp.Model(proto), settings).report
    assert report["after"]["macs"] == report["before"]["macs"] * (
        report["layers"][0]["out_channels"][1] / n
    )


LEFT = """<ir_version: 8, opset_import: ["": 17]>
g (float[1,3,4,4] x) => (float[1,5,q] y) {{
  a = Conv (x, w1)
  s = Constant <value = int64[3] {{{shape}}}> ()
  t = Reshape (a, s)
  {product}
  y = MatMul (head, m)
}}"""


def from_the_left(
    product: str, shape: str, **weights: tuple[int, ...]
) -> tuple[Graph, rp.ChannelMap]:
    arrays = {k: RNG.standard_normal(s) for k, s in weights.items()}
    proto = model(LEFT.format(product=product, shape=shape), **arrays)
    graph = graph_of(rp.Model(proto))
    return graph, channels_of(graph, rp.Scope(residual="prune"))


@pytest.mark.parametrize("lead", [(), (1,)])
def test_a_constant_on_the_left_costs_what_it_contracts(lead: tuple[int, ...]) -> None:
    """(6, n) · (1, n, 16), then (5, 6) · (1, 6, 16): the channels are the columns of the first."""
    n = 8
    shapes = {"w1": (n, 3, 1, 1), "left": (*lead, 6, n), "head": (5, 6)}
    graph, channels = from_the_left("m = MatMul (left, t)", f"1, {n}, 16", **shapes)
    assert cost(graph, channels).macs == 16 * 3 * n + 6 * 16 * n + 5 * 6 * 16
    keep = np.ones(channels.n_units, dtype=bool)
    (group,) = [g for g in channels.groups if g.free.any()]
    assert group.n == n
    keep[group.units[:3]] = False
    assert cost(graph, channels, keep).macs == (16 * 3 + 6 * 16) * (n - 3) + 5 * 6 * 16


@pytest.mark.parametrize(("n", "rows"), [(8, 5), (6, 9)])
def test_a_constant_on_the_left_lets_channels_pass_on_other_axes(n: int, rows: int) -> None:
    """(rows, 16) · (1, 16, n): every channel costs rows · 16, and none is cut off the constant."""
    product = (
        "u = Transpose <perm = [0, 2, 1]> (t)\n v = MatMul (left, u)\n"
        "m = Transpose <perm = [0, 2, 1]> (v)"
    )
    shapes = {"w1": (n, 3, 1, 1), "left": (rows, 16), "head": (5, n)}
    graph, channels = from_the_left(product, f"1, {n}, 16", **shapes)
    assert cost(graph, channels).macs == (16 * 3 + 16 * rows + 5 * rows) * n
    assert {s.tensor for s in channels.sites} == {"w1", "head"}


WHY_NOT = [
    ('m = Einsum <equation = "b...h,oc->b...h"> (t, left)', "an equation that is not followed"),
    ("k = Shape (t)\n c = Cast <to = 1> (k)\n m = MatMul (c, t)", "computed from sizes"),
    ("m = MatMul (other, t)", "a constant whose shape does not fit the file"),
    (
        "u = Transpose <perm = [0, 2, 1]> (t)\n m = MatMul (t, u)",
        "multiplies activations with each other",
    ),
]
"""Products that are no layers, and what is true of each of them alone."""


@pytest.mark.parametrize(("product", "words"), WHY_NOT)
def test_what_is_not_followed_is_said_truly(product: str, words: str) -> None:
    shapes = {"w1": (8, 3, 1, 1), "left": (16, 8), "other": (7, 9), "head": (5, 8)}
    _, channels = from_the_left(product, "1, 8, 16", **shapes)
    reasons = " | ".join(lock.reason for lock in channels.locks)
    assert words in reasons
    assert not any(other in reasons for _, other in WHY_NOT if other != words)


def test_rows_that_only_a_run_tells_are_counted() -> None:
    """Of 16 positions those are taken that a condition chooses, which are all here."""
    n, rows = 8, 5
    product = """f = ReduceMax <axes = [0, 1], keepdims = 0> (t)  g = Greater (f, low)
    k = NonZero (g)  i = Squeeze (k, nought)
    u = Gather <axis = 2> (t, i)  s2 = Transpose <perm = [0, 2, 1]> (u)
    m2 = MatMul (left, s2)  m = Transpose <perm = [0, 2, 1]> (m2)"""
    arrays = {
        "w1": RNG.standard_normal((n, 3, 1, 1)),
        "left": RNG.standard_normal((rows, 16)),
        "head": RNG.standard_normal((5, n)),
        "nought": np.array([0]),
        "low": np.float32(-1e9),
    }
    proto = model(LEFT.format(product=product, shape=f"1, {n}, 16"), **arrays)
    graph = graph_of(rp.Model(proto))
    channels = channels_of(graph, rp.Scope(residual="prune"))

    ops = graph.ops
    assert [p.macs for p in channels.passing if ops[p.node].inputs[0] == "left"] == [16 * rows]
    assert cost(graph, channels).macs == (16 * 3 + 16 * rows + 5 * rows) * n
