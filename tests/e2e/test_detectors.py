"""A YOLOv8-style detector and an ELAN/CSP classifier, random weights, as PyTorch exports them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import reprune_onnx as rp

# Conv layers that cannot lose channels: the heads' last ones, and DFL's fixed sum over bins.
LAST = {"yolo_tiny_random": 7, "elan_tiny_random": 0}
# At least so many Conv layers are cut, and at most this share of MACs is left, at sparsity 0.5.
FLOORS = {
    ("yolo_tiny_random", "keep"): (51, 0.36),
    ("yolo_tiny_random", "prune"): (57, 0.32),
    ("elan_tiny_random", "keep"): (38, 0.34),
    ("elan_tiny_random", "prune"): (44, 0.31),
}


@pytest.fixture
def folder(root: Path) -> Path:
    return root / "models"


def settings(residual: str, **more: object) -> rp.Settings:
    return rp.Settings(
        recover="none",
        sparsity=0.5,
        residual=residual,
        allocation="uniform",
        **{"method": "l1", **more},
    )


def convs(report: dict[str, object]) -> list[dict[str, object]]:
    return [layer for layer in report["layers"] if layer["op"] == "Conv"]


@pytest.mark.parametrize(("name", "residual"), FLOORS, ids=str)
@pytest.mark.parametrize("method", ["l1", "reprune"])
def test_is_pruned_deeply_and_exactly(folder: Path, name: str, residual: str, method: str) -> None:
    model = rp.load(folder / f"{name}.onnx")

    result = rp.prune(model, settings(residual, method=method))

    cut = [k for k in convs(result.report) if k["out_channels"][1] < k["out_channels"][0]]
    least, left = FLOORS[name, residual]
    assert len(cut) >= least
    assert 1 - result.report["achieved"]["macs_reduction"] <= left
    assert result.report["verification"]["passed"]
    assert result.model.proto.graph.output == model.proto.graph.output
    onnx.checker.check_model(result.model.proto, full_check=True)


@pytest.mark.parametrize("name", LAST)
def test_every_conv_but_the_last_can_go(folder: Path, name: str) -> None:
    channels = rp.analyze(rp.load(folder / f"{name}.onnx"), rp.Scope(residual="prune"))

    prunable = {p.layer.node for g in channels.groups if g.free.any() for p in g.producers}
    total = {layer.node for layer in channels.layers if layer.op == "Conv"}
    assert len(total - prunable) == LAST[name]


def test_inner_prunes_only_the_bottlenecks(folder: Path) -> None:
    result = rp.prune(rp.load(folder / "yolo_tiny_random.onnx"), settings("inner"))

    cut = {k["node"] for k in convs(result.report) if k["out_channels"][1] < k["out_channels"][0]}
    assert cut
    assert all("conv1" in node for node in cut), "the first of two in a residual bottleneck"


def test_what_is_outside_of_the_scope_stays(folder: Path) -> None:
    model = rp.load(folder / "yolo_tiny_random.onnx")

    result = rp.prune(model, settings("prune", include=("*backbone*",)))

    cut = {k["node"] for k in convs(result.report) if k["out_channels"][1] < k["out_channels"][0]}
    assert cut
    assert all("backbone" in node for node in cut)
    before = {t.name: numpy_helper.to_array(t) for t in model.proto.graph.initializer}
    after = {t.name: numpy_helper.to_array(t) for t in result.model.proto.graph.initializer}
    heads = [name for name in before if name.startswith("head")]
    assert heads
    for name in heads:
        rows = after[name].shape[0] == before[name].shape[0]
        assert rows, "a head's layers keep their output channels"
        if after[name].shape == before[name].shape:
            assert np.array_equal(after[name], before[name])
