"""SSD300 and Mask R-CNN, with all that follows them, pruned in the backbone."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper

import reprune_onnx as rp
from reprune_onnx.analyzer import channels_of, graph_of

pytest.importorskip("torchvision", reason="the recipes need torchvision")

from models.export import Recipe, export
from reprune_onnx.analyzer import Scope
from reprune_onnx.pruner.earlier import keep_by_cuts
from reprune_onnx.results import TensorCut
from reprune_onnx.verification.fed_model import FedModel
from reprune_onnx.verification.masked import masked_original

CASES = {
    "ssd300_resnet50": (Recipe(), 0.5, [(1, 3, 300, 300), (1, 3, 240, 320)]),
    "maskrcnn_resnet50_fpn": (
        Recipe(min_size=96, proposals=60, detections=24),
        0.3,
        [(3, 96, 128), (3, 128, 160)],
    ),
}


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> int:
    """How many detections of ``a`` are in ``b`` too: label, box, score and mask."""
    matched = 0
    for k, box in enumerate(a["boxes"]):
        near = np.abs(b["boxes"] - box).max(axis=1) < 0.05  # pixels
        near &= (b["labels"] == a["labels"][k]) & (np.abs(b["scores"] - a["scores"][k]) < 1e-4)
        if near.any() and "masks" in a:
            near &= np.abs(b["masks"] - a["masks"][k]).reshape(len(near), -1).max(axis=1) < 1e-4
        matched += bool(near.any())
    return matched


@pytest.mark.parametrize("name", CASES)
def test_the_backbone_is_pruned_and_boxes_are_the_masked_originals(name):
    recipe, cut, sizes = CASES[name]
    model = rp.Model(export(name, recipe))
    entry = model.proto.graph.input[0].name
    settings = rp.Settings(  # --preset paper
        macs_reduction=cut,
        include=("*backbone*",),
        method="reprune",
        coverage="count",
        cutoff="merge-count",
        tie_break="random",
        allocation="bn-gamma",
        residual="inner",
        recover="none",
        input_shapes=((entry, sizes[0]),),
    )
    result = rp.prune(model, settings)
    report = result.report
    assert report["verification"]["passed"]
    assert report["achieved"]["macs_reduction"] == pytest.approx(cut, abs=0.01)
    before, after = report["scope"]["macs"]
    assert before < report["before"]["macs"]
    assert 1 - after / before == pytest.approx(cut, abs=0.01)

    narrow = [x for x in report["layers"] if x["sparsity"] > 0]
    assert len(narrow) >= 20
    assert all("backbone" in x["node"] for x in narrow)
    old, new = (
        {t.name: numpy_helper.to_array(t) for t in p.graph.initializer}
        for p in (model.proto, result.model.proto)
    )
    rest = [n for n in old if "backbone" not in n and n in new and old[n].dtype.kind == "f"]
    assert len(rest) >= 20
    assert all(np.array_equal(old[n], new[n]) for n in rest)

    scope = Scope("inner", ("*backbone*",), (), {entry: sizes[0]})
    graph = graph_of(model)
    channels = channels_of(graph, scope)
    cuts = [
        TensorCut(c["initializer"], c["axis"], np.array(c["keep"]), c.get("source"))
        for c in report["cuts"]
    ]
    keep = keep_by_cuts(graph, channels, cuts, "the report")
    outputs = [o.name for o in model.proto.graph.output]
    masked = masked_original(graph, channels, keep).session(outputs)
    pruned = FedModel(result.model.proto).session(outputs)
    unmasked = FedModel(model.proto).session(outputs)
    for k, size in enumerate(sizes):
        image = {entry: np.random.default_rng(k).random(size).astype(np.float32)}
        a, b, original = masked.run(image), pruned.run(image), unmasked.run(image)
        assert min(len(a["boxes"]), len(b["boxes"]), len(original["boxes"])) >= 10
        assert same(a, b) == len(a["boxes"]) == len(b["boxes"])
        assert same(b, a) == len(b["boxes"])
        assert same(original, b) < len(original["boxes"]) / 2  # the cut does change what is found
