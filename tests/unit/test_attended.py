"""The scores of attention as one node: numbers that a run holds, though no tensor has them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import text_graphs

import reprune_onnx as rp
from reprune_onnx.analyzer import channels_of, graph_of
from reprune_onnx.attended import pairs, scores
from reprune_onnx.sizes.fitting import fitting_shapes
from reprune_onnx.sizes.held import held_by_a_node
from reprune_onnx.verification import bound

QKV = ["q", "k", "v"]
NODES = {
    "rows in heads": (
        onnx.helper.make_node("MultiHeadAttention", QKV, ["y"], num_heads=4),
        {"q": (2, 10, 8), "k": (2, 30, 8)},
        (600, 2400),
    ),
    "heads apart": (
        onnx.helper.make_node("Attention", QKV, ["y"]),
        {"q": (2, 4, 10, 2), "k": (2, 4, 30, 2)},
        (600, 2400),
    ),
    "fewer heads of keys": (
        onnx.helper.make_node("Attention", QKV, ["y"], q_num_heads=4, kv_num_heads=2),
        {"q": (2, 10, 8), "k": (2, 30, 4)},
        (600, 2400),
    ),
    "all in one": (
        onnx.helper.make_node("Attention", ["q", "W", "b"], ["y"], num_heads=2),
        {"q": (1, 10, 8), "W": (8, 24)},
        (100, 200),
    ),
    "unknown": (onnx.helper.make_node("Attention", QKV, ["y"]), {"q": None}, (0, 0)),
    "a product": (onnx.helper.make_node("MatMul", ["q", "k"], ["y"]), {"q": (9, 9)}, (0, 0)),
}


@pytest.mark.parametrize(("node", "shapes", "counts"), NODES.values(), ids=list(NODES))
def test_places_are_compared_once_for_each_head(node, shapes, counts):
    assert (pairs(node, shapes), scores(node, shapes)) == counts
    given = sum(np.prod(shape) for shape in shapes.values() if shape)
    assert held_by_a_node([node], shapes) == given + counts[1]


TEXT = """<ir_version: 8, opset_import: ["": 17, "com.microsoft": 1]>
g (float[n,3,h,w] x) => (float[] y) {
    c = Conv (x, first)
    flat = Reshape (c, rows)
    s = Transpose <perm = [0, 2, 1]> (flat)
    a = com.microsoft.MultiHeadAttention <num_heads = 2> (s, s, s)
    back = Transpose <perm = [0, 2, 1]> (a)
    shape = Shape (c)
    u = Reshape (back, shape)
    y = Conv (u, second)
}"""


def test_sizes_at_which_attention_takes_more_memory_than_a_proof_may_are_not_assumed():
    """Case 14587 of seed 16: at the assumed 224 × 224 the scores take 20 GB."""
    rng = np.random.default_rng(0)
    proto = text_graphs.model(
        TEXT,
        first=rng.standard_normal((8, 3, 1, 1)),
        second=rng.standard_normal((4, 8, 1, 1)),
        rows=np.array([0, 0, -1]),
    )
    (n, _, h, w) = fitting_shapes(proto, {}).shapes["x"]
    assert n * 2 * (h * w) ** 2 <= bound.MOST
    settings = rp.Settings(sparsity=0.5, method="l1", recover="none")
    assert rp.prune(rp.Model(proto), settings).report["verification"]["passed"]


def test_a_proof_holds_scores_too():
    proto = text_graphs.model(
        TEXT,
        first=np.ones((8, 3, 1, 1)),
        second=np.ones((4, 8, 1, 1)),
        rows=np.array([0, 0, -1]),
    )
    graph = graph_of(rp.Model(proto))
    channels = channels_of(graph, rp.Scope(input_shapes={"x": (1, 3, 64, 64)}))
    assert bound.held_at_once(graph, channels) > 2 * (64 * 64) ** 2
