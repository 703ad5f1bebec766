"""Every layer that keeps its channels names the lock that reaches it, and what that costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.analyzer import channels_of, graph_of
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.pruner.measure import cost
from reprune_onnx.report.analysis import describe
from reprune_onnx.report.stays import stays
from reprune_onnx.types import ChannelMap


def detector(residual: str = "keep") -> rp.types.ChannelMap:
    """A backbone with a residual Add; a head that a Sigmoid and a CumSum read, and one that is an
    output; a Conv that a CumSum reads before the next layer."""
    rng = np.random.default_rng(1)
    shapes = {"a": (8, 3, 3, 3), "b": (8, 8, 3, 3), "c": (6, 8, 1, 1), "d": (5, 6, 1, 1)}
    shapes |= {"e": (4, 8, 1, 1)}
    proto = model(
        """<ir_version: 8, opset_import: ["" : 17]>
        g (float[1,3,8,8] x) => (float[1,5,8,8] best, float[1,4,8,8] raw) {
          [stem] s = Conv <pads = [1,1,1,1]> (x, a)
          [branch] r = Conv <pads = [1,1,1,1]> (s, b)
          [join] t = Add (s, r)
          [counted] u = Conv (t, c)
          [sums] v = CumSum (u, one)
          [head] w = Conv (v, d)
          p = Sigmoid (w)
          [top] best = CumSum (p, two)
          [output] raw = Conv (t, e)
        }""",
        one=np.array(1),
        two=np.array(2),
        **{k: rng.standard_normal(s) for k, s in shapes.items()},
    )
    return followed(proto, residual=residual)


def followed(proto: onnx.ModelProto, **scope: Any) -> tuple[Graph, ChannelMap]:
    graph = graph_of(rp.Model(proto))
    return graph, channels_of(graph, rp.Scope(**scope))


def told(graph: Graph, channels: ChannelMap) -> dict[str, tuple[str, int]]:
    names = {layer.node: layer.name for layer in channels.layers}
    return {names[node]: (stay.reason, stay.macs) for node, stay in stays(graph, channels).items()}


def test_the_lock_that_reaches_each_layer_is_named() -> None:
    reasons = {name: reason for name, (reason, _) in told(*detector()).items()}

    assert reasons["stem"] == reasons["branch"] == "meets the residual Add 'join' (--residual keep)"
    assert reasons["counted"] == "no rule for op CumSum 'sums'"
    assert reasons["output"] == "its channels are graph output 'raw'"
    assert reasons["head"] == (
        "a head: no layer reads it before graph output 'best', and no rule for op CumSum 'top'"
    )


def test_what_can_go_is_not_named() -> None:
    assert set(told(*detector("prune"))) == {"counted", "head", "output"}


def test_the_cost_is_what_would_go_with_all_channels_but_one() -> None:
    graph, channels = detector()
    keep = np.ones(channels.n_units, dtype=np.bool_)
    (group,) = (g for g in channels.groups if g.producers[0].layer.name == "stem")
    keep[group.units[1:]] = False

    reasons = told(graph, channels)

    assert reasons["stem"][1] == cost(graph, channels).macs - cost(graph, channels, keep).macs
    # by hand: the rows of two layers and the columns of three, 64 positions each
    assert reasons["stem"][1] == 64 * (
        (8 - 1) * 3 * 9 + (8 * 8 - 1) * 9 + (8 - 1) * 6 + (8 - 1) * 4
    )
    assert reasons["output"][1] == 64 * (4 - 1) * 8


def test_analysis_and_report_say_the_same() -> None:
    graph, channels = detector("prune")
    described: list[dict[str, Any]] = describe(graph, channels, "m", "prune")["layers"]
    assert [(x["node"], x["channels"], x["prunable"]) for x in described] == [
        ("stem", 8, 8),
        ("branch", 8, 8),
        ("counted", 6, 0),
        ("head", 5, 0),
        ("output", 4, 0),
    ]
    assert sum(x["macs"] for x in described) == cost(graph, channels).macs
    assert described[2]["stays"]["reason"] == "no rule for op CumSum 'sums'"

    settings = rp.Settings(sparsity=0.5, residual="prune", recover="none")
    proto = graph.proto
    report = rp.prune(rp.Model(proto), settings).report

    layers: Any = report["layers"]
    assert [x["stays"] is None for x in layers] == [True, True, False, False, False]
    for x, y in zip(described[2:], layers[2:], strict=True):
        assert (x["stays"]["reason"], x["stays"]["macs"]) == (y["stays"], y["stays_macs"])


def test_a_layer_that_only_the_allocation_keeps_says_so() -> None:
    settings = rp.Settings(sparsity=0.5, residual="prune", recover="none", layer=(("stem", 8),))
    proto: onnx.ModelProto = model(
        """<ir_version: 8, opset_import: ["" : 17]>
        g (float[1,3] x) => (float[1,2] y) {
          [stem] a = MatMul (x, w)
          [next] b = MatMul (a, v)
          y = MatMul (b, u)
        }""",
        w=np.random.default_rng(0).standard_normal((3, 8)),
        v=np.random.default_rng(1).standard_normal((8, 8)),
        u=np.random.default_rng(2).standard_normal((8, 2)),
    )

    layers: Any = rp.prune(rp.Model(proto), settings).report["layers"]

    assert layers[0]["stays"] == "the target was reached without its channels"
    assert layers[0]["stays_macs"] is None
    assert layers[1]["stays"] is None


@pytest.mark.parametrize(("include", "said"), [(("branch",), "not named by --include")])
def test_an_option_is_named_where_nothing_else_holds(include: tuple[str, ...], said: str) -> None:
    proto = detector()[0].proto
    graph, channels = followed(proto, residual="prune", include=include)

    reasons = told(graph, channels)
    assert reasons["stem"][0] == said
    assert reasons["counted"][0] == "no rule for op CumSum 'sums'"


def test_a_node_that_is_named_like_an_option_is_none() -> None:
    """The kind of a lock tells what it is, not the words that a file's names bring into it."""
    proto = detector()[0].proto
    for node in proto.graph.node:
        node.name = "--include" if node.name == "sums" else node.name

    graph, channels = followed(proto, exclude=("counted",))

    assert told(graph, channels)["counted"][0] == "no rule for op CumSum '--include'"
    kinds = {lock.kind for lock in channels.locks}
    assert kinds == {"node", "output", "residual", "scope"}
