"""Multiply-adds behind If, Loop and unknown ops are counted, or are said to be missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.analyzer import channels_of, graph_of
from reprune_onnx.pruner.measure import cost
from reprune_onnx.report.analysis import describe

BEHIND = """<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>
g (float[n,3,12,12] x, bool flag) => (float[n,4,h,w] y) {{
  [first] c = Conv (x, a)
  {between}
  [second] d = Conv <strides = [2,2]> (z, b)
  [third] y = Conv (d, e)
}}"""
IF = """z = If (flag) <
    then_branch = yes () => (u) { u = Relu (c) },
    else_branch = no () => (v) { v = Neg (c) }>"""
PAD = "z = com.microsoft.Pad (c, pads)"
WEIGHTS: dict[str, Any] = {
    "a": np.ones((6, 3, 1, 1)),
    "b": np.ones((5, 6, 2, 2)),
    "e": np.ones((4, 5, 1, 1)),
    "pads": np.array([0, 0, 2, 2, 0, 0, 2, 2]),
}


@pytest.mark.parametrize(("between", "side"), [(IF, 12), (PAD, 16), ("z = Relu (c)", 12)])
def test_what_stands_behind_is_counted(between: str, side: int) -> None:
    graph = graph_of(rp.Model(model(BEHIND.format(between=between), **WEIGHTS)))
    channels = channels_of(graph, rp.Scope())

    after = (side // 2) ** 2
    assert cost(graph, channels).macs == 144 * 18 + after * (5 * 6 * 4 + 4 * 5)
    assert describe(graph, channels, "m", "keep")["notes"] == []


def test_what_cannot_be_run_is_said_to_be_missing() -> None:
    between = "z = some.where.Op (c)"
    text = BEHIND.format(between=between).replace('"com.microsoft"', '"some.where"')

    graph = graph_of(rp.Model(model(text, **WEIGHTS)))
    channels = channels_of(graph, rp.Scope())

    assert cost(graph, channels).macs == 144 * 18
    (note,) = describe(graph, channels, "m", "keep")["notes"]
    assert "2 layers, such as 'second'" in note
    assert "not counted" in note


def test_layers_in_bodies_are_said_to_be_missing() -> None:
    inside = """z = Loop (twice, flag, c) <body = again (int64 k, bool go, float[n,6,h,w] u) =>
        (bool on, float[n,6,h,w] v) {{ on = Identity (go)  v = Conv (u, s) }}>"""
    proto: onnx.ModelProto = model(
        BEHIND.format(between=inside.format()),
        s=np.ones((6, 6, 1, 1)),
        twice=np.array(2),
        **WEIGHTS,
    )

    graph = graph_of(rp.Model(proto))
    notes = describe(graph, channels_of(graph, rp.Scope()), "m", "keep")["notes"]

    assert notes == [
        "1 Conv node stands in a body of Loop, which is not looked into (loops are followed where"
        " they stand in the main graph and run a fixed number of times, in at most 4,096 nodes:"
        " export the model with fixed sizes): no multiply-adds of bodies are counted, and none go"
    ]


def test_of_two_branches_the_larger_counts() -> None:
    inside = """z = If (flag) <
        then_branch = yes () => (u) { t = Conv (c, s)  u = Conv (t, s) },
        else_branch = no () => (v) { v = Conv (c, s) }>"""
    proto = model(BEHIND.format(between=inside), s=np.ones((6, 6, 1, 1)), **WEIGHTS)

    graph = graph_of(rp.Model(proto))
    channels = channels_of(graph, rp.Scope())

    assert cost(graph, channels).macs == 144 * (18 + 2 * 36) + 36 * (5 * 6 * 4 + 4 * 5)
    (note,) = describe(graph, channels, "m", "keep")["notes"]
    assert "2 branches of If hold layers" in note


def test_a_reduction_is_of_all_that_was_counted() -> None:
    """57 % of the multiply-adds lie behind the If: "at most 0.1 % can go" was not true."""
    rng = np.random.default_rng(0)
    weights = {k: rng.standard_normal(v.shape) for k, v in WEIGHTS.items() if k != "pads"}
    proto = model(BEHIND.format(between=IF), **weights)

    result: Any = rp.prune(rp.Model(proto), rp.Settings(macs_reduction=0.3, recover="none")).report

    assert result["achieved"]["macs_reduction"] == pytest.approx(0.3, abs=0.15)
    assert result["layers"][0]["out_channels"][1] < 6  # which the If reads


REGIONS = """<ir_version: 8, opset_import: ["" : 17]>
g (float[{batch},3,8,8] x) => (float[n,m] y, float[n,5,h,w] o) {{
  [first] c = Conv (x, a)
  m = ReduceMean <axes = [1], keepdims = 0> (x)
  e = Greater (m, low)
  n = NonZero (e)
  p = Transpose (n)
  t = Transpose <perm = [0,2,3,1]> (c)
  q = GatherND (t, p)
  [head] y = Gemm (q, h)
  k = Unsqueeze (q, axes)
  [mask] o = Conv (k, v)
}}"""


@pytest.mark.parametrize(("batch", "low"), [(1, -100.0), (2, -100.0), (1, 100.0)])
def test_heads_count_the_regions_that_a_run_shows(batch: int, low: float) -> None:
    weights = {
        "a": np.ones((6, 3, 1, 1)),
        "h": np.ones((6, 4)),
        "v": np.ones((5, 6, 1, 1)),
        "axes": np.array([2, 3]),
        "low": np.float32(low),
    }
    graph = graph_of(rp.Model(model(REGIONS.format(batch=batch), **weights)))
    channels = channels_of(graph, rp.Scope())
    regions = 64 if low < 0 else 0
    assert cost(graph, channels).macs == 64 * 18 + regions * (24 + 30)
    widths = {layer.name: layer.positions for layer in channels.layers}
    assert widths == {"first": 64, "head": regions, "mask": regions}
