"""Pruning without images: generated ones where they do better, and a reason where they do not."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.search import without_images

STATISTICS = """<ir_version: 8, opset_import: ["": 17]>
g (float[n,3,8,8] x) => (float[n,5] y) {
  a = Conv <pads = [1,1,1,1]> (x, w0)
  b = BatchNormalization (a, gamma, beta, mean, var)
  c = Relu (b)
  d = Conv <pads = [1,1,1,1]> (c, w1)
  e = GlobalAveragePool (d)
  f = Flatten (e)
  y = MatMul (f, w2)
}"""
NO_STATISTICS = STATISTICS.replace("BatchNormalization (a, gamma, beta, mean, var)", "Identity (a)")
TWO_INPUTS = STATISTICS.replace("float[n,3,8,8] x", "float[n,3,8,8] x, float[n,5] z").replace(
    "y = MatMul (f, w2)", "m = MatMul (f, w2)\n  y = Add (m, z)"
)


def network(text: str, **values: Any) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    shapes = {"w0": (6, 3, 3, 3), "w1": (7, 6, 3, 3), "w2": (7, 5)}
    arrays = {name: rng.normal(0, 0.3, shape) for name, shape in shapes.items()}
    if "BatchNormalization" in text:
        one = np.ones(6)
        arrays |= {"gamma": one, "beta": 0 * one, "mean": 0.1 * one, "var": 0.5 * one}
    return model(text, **(arrays | values))


def pruned(proto: onnx.ModelProto, **options: Any) -> rp.Report:
    return rp.prune(proto, rp.Settings(sparsity=0.4, **options)).report


def test_generated_images_are_taken_where_they_do_better(root: Path) -> None:
    report = rp.prune(
        root / "models" / "digits_resnet.onnx", rp.Settings(macs_reduction=0.5)
    ).report
    instead = report["without_images"]
    assert instead is not None and instead["taken"] == "generated"
    assert instead["error"] is not None
    assert instead["error"]["generated"] < 0.5 * instead["error"]["data-free"]
    assert (instead["held_out"], report["calibration"]["images"]) == (48, 80)
    assert report["notes"][0] == instead["why"]
    assert report["verification"] is not None and report["verification"]["passed"]
    assert report["recovery"]["method"] == "least-squares"


@pytest.mark.parametrize(
    ("text", "reason"),
    [(NO_STATISTICS, "nothing in the file tells"), (TWO_INPUTS, "2 data inputs")],
)
def test_by_the_file_alone_where_images_would_mean_nothing(text: str, reason: str) -> None:
    report = pruned(network(text))
    instead = report["without_images"]
    assert instead is not None and instead["taken"] == "data-free"
    assert reason in instead["why"]
    assert report["calibration"] is None
    assert report["verification"] is not None and report["verification"]["passed"]


@pytest.mark.parametrize(
    ("generated", "taken"), [(0.5, "generated"), (0.95, "data-free"), (2.0, "data-free")]
)
def test_the_way_is_taken_that_is_nearer_by_a_tenth(
    generated: float, taken: str, monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    errors = {"generated": generated, "data-free": 1.0}
    monkeypatch.setattr(without_images, "_errors", lambda *_: errors)
    monkeypatch.setattr(without_images, "_MOST", 48)
    report = rp.prune(
        root / "models" / "digits_resnet.onnx", rp.Settings(macs_reduction=0.5)
    ).report
    assert report["without_images"] is not None
    assert report["without_images"]["taken"] == taken
    assert (report["calibration"] is None) == (taken == "data-free")
    assert report["verification"] is not None and report["verification"]["passed"]


@pytest.mark.parametrize("recover", ["none", "data-free"])
def test_not_where_recovery_is_said(recover: Any) -> None:
    report = pruned(network(STATISTICS), recover=recover)
    assert report["without_images"] is None and report["calibration"] is None


def test_what_costs_too_much_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(without_images, "_LARGEST", 100)
    instead = pruned(network(STATISTICS))["without_images"]
    assert instead is not None and instead["taken"] == "data-free"
    assert "multiply-adds" in instead["why"]


def test_with_wide_layers_less_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """Moments of a layer's inputs take memory by the square of their number."""
    monkeypatch.setattr(without_images, "_WITH_WIDE", 100)
    instead = pruned(network(STATISTICS))["without_images"]
    assert instead is not None and "multiply-adds" not in instead["why"]
    monkeypatch.setattr(without_images, "_WIDE", 1)
    instead = pruned(network(STATISTICS))["without_images"]
    assert instead is not None and "multiply-adds" in instead["why"]


def test_images_are_not_made_where_nothing_is_cut() -> None:
    report = rp.prune(network(STATISTICS), rp.Settings(sparsity=0)).report
    instead = report["without_images"]
    assert instead is not None and instead["taken"] == "data-free"
    assert "nothing was cut" in instead["why"]
