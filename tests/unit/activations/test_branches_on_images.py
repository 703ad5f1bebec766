"""Layers in branches of If are measured on images where both branches run, and said to be not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import branches_oracle
import numpy as np
import pytest
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.errors import RepruneError
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
# The same with an If in its then_branch, whose else_branch is what may not run.
NESTED = TEXT.replace("h = BETWEEN", "h = Neg (f)").replace(
    "d = Relu (b)",
    """k = Relu (b)  d = If (low) <
        then_branch = yes_yes () => (float[n,10,8,8] i) { o = Conv (k, u1)  i = Relu (o) },
        else_branch = yes_no () => (float[n,10,8,8] j) { f = Conv (k, u2)  j = BETWEEN }>""",
)
SHAPES = {
    "first": (12, 3),
    "w1": (10, 12),
    "w2": (12, 10),
    "u1": (10, 10),
    "u2": (10, 10),
    "v1": (7, 12),
    "v2": (12, 7),
    "last": (4, 12),
}
STATISTICS = ("gamma", "beta", "mean", "variance")


def pruned(
    folder: Path,
    between: str,
    bound: float,
    text: str = TEXT,
    sizes: tuple[int, ...] = (),
    images: int = 64,
    **more_settings: Any,
) -> Any:
    """The report of a pruning with images; ``bad`` are the ``sizes`` of a Reshape."""
    rng = np.random.default_rng(0)
    weights = {k: rng.standard_normal((*s, 1, 1)) for k, s in SHAPES.items() if k in text}
    weights |= {k: rng.uniform(0.5, 2.0, 10) for k in STATISTICS if k in text}
    more = {"bad": np.array(sizes)} if sizes else {}
    proto = model(text.replace("BETWEEN", between), **weights, **more, bound=np.float32(bound))
    np.savez(folder / "x.npz", x=rng.standard_normal((images, 3, 8, 8)).astype(np.float32))
    given = {"sparsity": 0.4, "calibration": str(folder / "x.npz"), "preprocess": "none"}
    settings = Settings(**{**given, **more_settings})
    result = rp.prune(rp.Model(proto), settings)
    assert branches_oracle.structure(result.model.proto.graph) == branches_oracle.structure(
        proto.graph
    )
    return result.report


@pytest.mark.parametrize(
    ("text", "inside", "recover"),
    [(TEXT, 4, "least-squares"), (TEXT, 4, "batch-norm"), (NESTED, 6, "least-squares")],
    ids=["least-squares", "batch-norm", "an If within"],
)
def test_where_both_branches_run_all_layers_are_refitted(
    tmp_path: Path, text: str, inside: int, recover: str
) -> None:
    report = pruned(tmp_path, "Neg (f)", 0.0, text, recover=recover)

    assert report["recovery"]["layers"] == inside + 1  # all but the first, which reads the image
    assert report["recovery"]["error_after"] < report["recovery"]["error_before"]
    assert any(
        f"{inside} layers in branches of If saw all images" in note for note in report["notes"]
    )


@pytest.mark.parametrize(
    ("text", "sizes"),
    [(TEXT, (5, 7, 8, 8)), (TEXT, (8, 7, 8, 8)), (NESTED, (5, 10, 8, 8)), (NESTED, (8, 10, 8, 8))],
    ids=["on none", "on all but the last batch", "within, on none", "within, on all but the last"],
)
def test_where_one_does_not_run_nothing_in_them_is_measured(
    tmp_path: Path, text: str, sizes: tuple[int, ...]
) -> None:
    """70 images are eight batches of 8 and one of 6."""
    report = pruned(
        tmp_path,
        "Reshape (f, bad)",
        100.0,
        text,
        sizes,
        images=70,
        sparsity=0.2,
        recover="least-squares",
        allocation="uniform",
    )

    assert any("layers in branches of If could not be measured" in n for n in report["notes"])
    assert report["recovery"]["error_after"] <= report["recovery"]["error_before"]


def test_a_branch_that_no_size_fits_is_named(tmp_path: Path) -> None:
    options = {"recover": "none", "allocation": "uniform"}
    report = pruned(tmp_path, "Reshape (f, bad)", 100.0, sizes=(1, 7, 9, 9), **options)

    reasons = [lock["reason"] for lock in report["locked"]]
    assert any("the else_branch of If" in r and "could not be run" in r for r in reasons)


def test_where_losses_are_not_known_the_allocation_that_needs_none_is_named(
    tmp_path: Path,
) -> None:
    """No loss is known of the channels inside a branch that does not run on the images."""
    which = r"2 groups of channels are read by no layer that could be measured, and stay whole"
    more: Any = {"sizes": (8, 7, 8, 8), "images": 70, "recover": "none"}

    report = pruned(tmp_path, "Reshape (f, bad)", 100.0, sparsity=0.1, **more)
    assert f"{which}; --allocation uniform prunes them" in report["notes"]
    with pytest.raises(RepruneError, match=rf"cannot be reached.*{which}: --allocation uniform"):
        pruned(tmp_path, "Reshape (f, bad)", 100.0, sparsity=0.8, **more)


def test_what_runs_on_no_image_is_repaired_without_them(tmp_path: Path) -> None:
    """By the statistics of a BatchNormalization in the branch that does run."""
    text = TEXT.replace("Relu (b)", "BatchNormalization (b, gamma, beta, mean, variance)")
    options = {"recover": "data-free", "allocation": "uniform", "method": "l1"}
    report = pruned(tmp_path, "Reshape (f, bad)", 100.0, text, (5, 7, 8, 8), **options)

    assert report["recovery"]["method"] == "data-free"
    assert report["recovery"]["layers"] == 1
