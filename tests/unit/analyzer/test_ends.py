"""The ends of a network: the share of the outputs that a node reaches, and what is compared."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
import text_graphs

import reprune_onnx as rp
from reprune_onnx.analyzer import channels_of, graph_of
from reprune_onnx.analyzer.ends import compared_ends, reached
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.pruner.knowledge import measure
from reprune_onnx.pruner.sensitivity import readers
from reprune_onnx.subject import subject_of
from reprune_onnx.watch import Watch

RNG = np.random.default_rng(0)
HEAD = """
    [boxes{k}] b{k} = Conv (f{k}, wb)
    [scores{k}] s{k} = Conv (f{k}, ws)
    p{k} = Sigmoid (s{k})
    c{k} = Concat <axis = 1> (b{k}, p{k})
    r{k} = Reshape (c{k}, rows)"""
LEVELS = f"""
    [trunk] t = Conv (x, w0)
    f1 = Relu (t)
    [down] d = Conv <strides = [2, 2]> (f1, w1)
    f2 = Relu (d)
    {HEAD.format(k=1)} {HEAD.format(k=2)}"""
CASES = {
    "one output": (
        "[first] a = Conv (x, w0)  [second] b = Conv (a, w1)  m = GlobalAveragePool (b)"
        "  y = Flatten (m)",
        ["y"],
        {"first": 1, "second": 1},
    ),
    "parts of levels": (
        f"{LEVELS}  all = Concat <axis = 2> (r1, r2)  y = Transpose <perm = [0, 2, 1]> (all)",
        ["y"],
        {"trunk": 1, "down": 1 / 2, "boxes1": 1 / 4, "scores1": 1 / 4, "boxes2": 1 / 4},
    ),
    "an output for each level": (
        LEVELS,
        ["r1", "r2"],
        {"trunk": 1, "down": 1 / 2, "scores2": 1 / 4},
    ),
    "an output more, of one level": (
        LEVELS,
        ["r1", "r2", "p2"],
        {"trunk": 1, "down": 2 / 3, "boxes2": 1 / 6, "scores2": 1 / 2, "scores1": 1 / 6},
    ),
    "a Concat before a layer": (
        "[a] a = Conv (x, w0)  [b] b = Conv (x, w0)  c = Concat <axis = 1> (a, b)"
        "  [last] y = Conv (c, w2)",
        ["y"],
        {"a": 1, "b": 1, "last": 1},
    ),
    "a sum": (
        "[a] a = Conv (x, w0)  [b] b = Conv (x, w0)  y = Add (a, b)",
        ["y"],
        {"a": 1, "b": 1},
    ),
    "parts that were one": (
        "[a] a = Conv (x, w0)  u, v = Split <axis = 1> (a)  y = Concat <axis = 1> (v, u)",
        ["y"],
        {"a": 1},
    ),
    "an output of shapes": (
        "[a] a = Conv (x, w0)  y = Relu (a)  z = Shape (x)",
        ["y", "z"],
        {"a": 1},
    ),
    "nothing behind": (
        "[a] a = Conv (x, w0)  [b] b = Conv (x, w0)  y = Relu (a)",
        ["y"],
        {"a": 1, "b": 0},
    ),
}
WEIGHTS = {
    "w0": RNG.standard_normal((8, 4, 1, 1)),
    "w1": RNG.standard_normal((8, 8, 1, 1)),
    "w3": RNG.standard_normal((8, 8, 1, 1)),
    "w2": RNG.standard_normal((4, 16, 1, 1)),
    "wb": RNG.standard_normal((4, 8, 1, 1)),
    "ws": RNG.standard_normal((2, 8, 1, 1)),
    "wd": RNG.standard_normal((4, 8, 1, 1)),
    "rows": np.array([0, 6, -1]),
}


@pytest.mark.parametrize(("body", "outputs", "shares"), CASES.values(), ids=list(CASES))
def test_shares_of_the_outputs(body, outputs, shares):
    graph = graph_of(network(body, outputs))
    channels = channels_of(graph, rp.Scope())
    by_node = reached(graph, {layer.node for layer in channels.layers})
    named = {op.name: by_node[op.index] for op in graph.ops if op.name in shares}
    assert named == pytest.approx(shares)


COMPARED = {
    "a classifier's logits": (
        "a = Conv (x, w0)  m = GlobalAveragePool (a)  f = Flatten (m)  p = Softmax (f)"
        "  y = Identity (p)",
        ["y"],
        {"y": {"m": 1.0}},
    ),
    "scores behind a Sigmoid": (
        "a = Conv (x, w0)  s = Sigmoid (a)  y = Flatten (s)",
        ["y"],
        {"y": {"s": 1.0}},
    ),
    "boxes and scores of levels": (
        f"{LEVELS}  all = Concat <axis = 2> (r1, r2)  y = Transpose <perm = [0, 2, 1]> (all)",
        ["y"],
        {"y": {"b1": 1 / 4, "p1": 1 / 4, "b2": 1 / 4, "p2": 1 / 4}},
    ),
    "boxes before strides and grids": (
        "a = Conv (x, w0)  s = Sigmoid (a)  g = Constant <value = float {8.0}> ()"
        "  t = Add (a, g)  e = Exp (t)  b = Mul (e, g)  y = Concat <axis = 1> (b, s)",
        ["y"],
        {"y": {"a": 1 / 2, "s": 1 / 2}},
    ),
    "what is no part, as elements are lost": (
        "a = Conv (x, w0)  c = Conv (x, w0)  b = Concat <axis = 1> (a, c)"
        "  u, v = Split <axis = 1> (b)  m = ReduceMax (u)  y = Concat <axis = 1> (u, v)",
        ["y", "m"],
        {"y": {"u": 1 / 2, "v": 1 / 2}, "m": {"m": 1.0}},
    ),
    "a sum": (
        "a = Conv (x, w0)  b = Conv (x, w0)  c = Add (a, b)  y = Flatten (c)",
        ["y"],
        {"y": {"c": 1.0}},
    ),
    "boxes and scores before suppression": (
        "a = Conv (x, wb)  s = Conv (x, ws)  p = Sigmoid (s)  r = Reshape (a, rows)"
        "  y = NonMaxSuppression (r, p)",
        ["y"],
        {"r": {"a": 1.0}, "p": {"p": 1.0}},
    ),
    "no layer": ("y = Relu (x)", ["y"], {"y": {"y": 1.0}}),
}


@pytest.mark.parametrize(("body", "outputs", "ends"), COMPARED.values(), ids=list(COMPARED))
def test_ends_that_are_compared(body, outputs, ends):
    seen = compared_ends(Graph(network(body, outputs)))
    assert seen.keys() == ends.keys()
    for name, parts in ends.items():
        assert seen[name] == pytest.approx(parts)


def network(body: str, outputs: list[str]) -> rp.Model:
    ports = ", ".join(f"{'int64' if o == 'z' else 'float'}[] {o}" for o in outputs)
    text = f"""<ir_version: 8, opset_import: ["": 17]>
    g (float[2, 4, 8, 8] x) => ({ports}) {{ {body} }}"""
    used = {name: array for name, array in WEIGHTS.items() if name in body}
    return rp.Model(text_graphs.model(text, **used))


def test_losses_are_those_of_the_share(monkeypatch):
    body = """
        [t] t = Conv (x, w0)  f0 = Relu (t)
        [one] a = Conv (f0, w1)  f1 = Relu (a)
        [two] b = Conv (f0, w3)  f2 = Relu (b)
        y1 = Conv (f1, wb)  y2 = Conv (f2, ws)  y3 = Conv (f2, wd)"""
    model = network(body, ["y1", "y2", "y3"])
    images = RNG.standard_normal((40, 4, 8, 8)).astype(np.float32)
    settings = rp.Settings(sparsity=0.4, method="reconstruction", calibration=images)
    shared = losses(model, settings)
    monkeypatch.setattr(readers, "reached", lambda *_: defaultdict(lambda: 1.0))
    whole = losses(model, settings)
    assert shared["one"] == pytest.approx(whole["one"] / 3)
    assert shared["two"] == pytest.approx(whole["two"] / 3)  # each of its readers reaches one
    assert (shared["t"][:-1] > whole["t"][:-1] / 3).all()
    assert (shared["t"][:-1] < whole["t"][:-1]).all()


def losses(model: rp.Model, settings: rp.Settings) -> dict[str, np.ndarray]:
    """The curve of the group that each layer makes."""
    subject = subject_of(model, settings)
    known = measure(subject, settings, Watch()).knowledge.losses
    assert known is not None
    makers = {
        g.id: subject.graph.ops[p.layer.node].name
        for g in subject.channels.groups
        for p in g.producers
    }
    return {makers[g]: curve for g, curve in known.error.items()}
