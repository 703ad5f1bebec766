"""The error of the outputs is that of their parts, which count alike."""

from __future__ import annotations

import numpy as np
import pytest
import text_graphs

import reprune_onnx as rp
from reprune_onnx.activations.images import Images
from reprune_onnx.recovery.output_error import output_error

RNG = np.random.default_rng(5)
HEAD = '<ir_version: 8, opset_import: ["": 17]> g (float[n,3,8,8] x) => '
PARTS = """{
    b = Conv (x, wb)  s = Conv (x, ws)  p = Sigmoid (s)
    far = Mul (b, stride)  all = Concat <axis = 1> (far, p)  y = Reshape (all, rows) }"""
SUPPRESSED = """{
    b = Conv (x, wb)  s = Conv (x, ws)  p = Sigmoid (s)
    flat = Reshape (b, rows)  boxes = Transpose <perm = [0, 2, 1]> (flat)
    scores = Reshape (p, classes)
    y = NonMaxSuppression (boxes, scores, most, overlap, least) }"""
WEIGHTS = {
    "wb": RNG.standard_normal((4, 3, 1, 1)),
    "ws": RNG.standard_normal((2, 3, 1, 1)),
    "stride": np.array(1000.0),
    "rows": np.array([0, 0, -1]),
}
FOR_SUPPRESSION = {
    "rows": np.array([0, 4, -1]),
    "classes": np.array([0, 2, -1]),
    "most": np.array([5]),
    "overlap": np.array([0.5], np.float32),
    "least": np.array([0.6], np.float32),
}
WAYS = {"one output": ("(float[n,r,c] y)", PARTS), "NMS": ("(int64[m,3] y)", SUPPRESSED)}


def network(way: str, **other: np.ndarray) -> rp.Model:
    ports, body = WAYS[way]
    weights = WEIGHTS | (FOR_SUPPRESSION if way == "NMS" else {}) | other
    used = {name: array for name, array in weights.items() if name in body}
    return rp.Model(text_graphs.model(HEAD + ports + body, **used))


def images() -> Images:
    batches = (RNG.standard_normal((1, 3, 8, 8)).astype(np.float32) for _ in range(8))
    return Images("the images", tuple({"x": x} for x in batches), 8)


@pytest.mark.parametrize("way", WAYS)
def test_boxes_and_scores_count_alike_however_large_their_numbers_are(way: str) -> None:
    original, data = network(way), images()
    boxes = output_error(original, network(way, wb=1.1 * WEIGHTS["wb"]), data)
    scores = output_error(original, network(way, ws=0 * WEIGHTS["ws"]), data)
    both = output_error(original, network(way, wb=1.1 * WEIGHTS["wb"], ws=0 * WEIGHTS["ws"]), data)
    assert boxes is not None
    assert scores is not None
    assert boxes == pytest.approx(0.01 / 2, rel=0.05)  # (0.1)² of one end of two
    assert 0.4 < scores < 0.7  # as far as the mean, or a little more
    assert both == pytest.approx(boxes + scores, rel=1e-6)
