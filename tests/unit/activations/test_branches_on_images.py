"""Layers in branches of If are measured on images where both branches run, and said to be not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import branches_oracle
import numpy as np
import pytest
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.settings import Settings

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[n,3,8,8] x) => (float[n,4,8,8] y) {
  m = ReduceMean <keepdims = 0> (x)
  low = Less (m, bound)
  c = Conv (x, first)
  z = If (low) <
    then_branch = yes () => (float[n,12,8,8] a) {
      b = Conv (c, w1)  d = Relu (b)  a = Conv (d, w2) },
    else_branch = no () => (float[n,12,8,8] e) { f = Conv (c, v1)  h = BETWEEN  e = Conv (h, v2) }>
  r = Relu (z)
  y = Conv (r, last)
}"""
SHAPES = {
    "first": (12, 3),
    "w1": (10, 12),
    "w2": (12, 10),
    "v1": (7, 12),
    "v2": (12, 7),
    "last": (4, 12),
}


def pruned(folder: Path, between: str, bound: float, **more_settings: Any) -> Any:
    """The report of a pruning with images."""
    rng = np.random.default_rng(0)
    weights = {k: rng.standard_normal((*s, 1, 1)) for k, s in SHAPES.items()}
    more = {"bad": np.array([5, 7, 8, 8])} if "bad" in between else {}
    proto = model(TEXT.replace("BETWEEN", between), **weights, **more, bound=np.float32(bound))
    np.savez(folder / "x.npz", x=rng.standard_normal((64, 3, 8, 8)).astype(np.float32))
    settings = Settings(
        sparsity=0.4, calibration=str(folder / "x.npz"), preprocess="none", **more_settings
    )
    result = rp.prune(rp.Model(proto), settings)
    assert branches_oracle.structure(result.model.proto.graph) == branches_oracle.structure(
        proto.graph
    )
    return result.report


@pytest.mark.parametrize("recover", ["least-squares", "batch-norm"])
def test_where_both_branches_run_all_layers_are_refitted(tmp_path: Path, recover: str) -> None:
    report = pruned(tmp_path, "Neg (f)", 0.0, recover=recover)

    assert report["recovery"]["layers"] == 5  # all but the first, which reads the image
    assert report["recovery"]["error_after"] < report["recovery"]["error_before"]
    assert any("4 layers in branches of If saw all images" in note for note in report["notes"])


def test_where_one_does_not_run_nothing_in_them_is_measured(tmp_path: Path) -> None:
    report = pruned(
        tmp_path,
        "Reshape (f, bad)",
        100.0,
        recover="least-squares",
        allocation="uniform",
    )

    assert any("layers in branches of If could not be measured" in n for n in report["notes"])
    assert report["recovery"]["error_after"] <= report["recovery"]["error_before"]
    reasons = [lock["reason"] for lock in report["locked"]]
    assert any("the else_branch of If" in r and "could not be run" in r for r in reasons)
