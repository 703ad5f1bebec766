"""Options out of their range, misspelt, or matching nothing."""

import json

import pytest
from altered_models import HALF

LAYER = "/stage2/block2/conv1/Conv"


# ── a glob that matches nothing ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("option", ["--include", "--exclude"])
@pytest.mark.parametrize("glob", ["*stage2/blok2*", "/stage2/block2/conv1", "stage2", "/STAGE2/*"])
def test_a_glob_matches_nothing(refuses, model, option, glob):
    refuses("prune", model, *HALF, option, glob, says=(option, glob, "near misses: '/stage2"))


def test_a_layer_glob_matches_nothing(refuses, model):
    line = refuses("prune", model, *HALF, "--layer", "/stage2/block2/conv1=4", says=("--layer",))
    assert LAYER in line


@pytest.mark.parametrize("value", ["9999", "33"])
def test_a_layer_cannot_keep_more_than_it_has(refuses, model, value):
    refuses("prune", model, *HALF, "--layer", f"{LAYER}={value}", says=(LAYER, "32"))


# ── usage ───────────────────────────────────────────────────────────────────────────────────────

TARGET = ("--sparsity", "0.5")
USAGE = {
    "sparsity 1.2": ("--sparsity", "1.2"),
    "sparsity 1": ("--sparsity", "1"),
    "sparsity -0.1": ("--sparsity", "-0.1"),
    "sparsity nan": ("--sparsity", "nan"),
    "sparsity inf": ("--sparsity", "inf"),
    "sparsity abc": ("--sparsity", "abc"),
    "sparsity empty": ("--sparsity", ""),
    "no value": ("--sparsity",),
    "no target": (),
    "two targets": ("--sparsity", "0.5", "--macs-reduction", "0.5"),
    "macs reduction 0": ("--macs-reduction", "0"),
    "macs reduction 1": ("--macs-reduction", "1"),
    "macs reduction nan": ("--macs-reduction", "nan"),
    "params reduction 1.5": ("--params-reduction", "1.5"),
    "unknown option": (*TARGET, "--sparcity", "0.5"),
    "unknown method": (*TARGET, "--method", "magic"),
    "unknown linkage": (*TARGET, "--linkage", "centroid"),
    "unknown residual": (*TARGET, "--residual", "maybe"),
    "unknown preset": (*TARGET, "--preset", "scissors"),
    "jobs 0": (*TARGET, "--jobs", "0"),
    "jobs many": (*TARGET, "--jobs", "many"),
    "round to 0": (*TARGET, "--round-to", "0"),
    "min channels -1": (*TARGET, "--min-channels", "-1"),
    "calibration size 0": (*TARGET, "--calibration-size", "0"),
    "more jobs than processes": (*TARGET, "--jobs", "99999999999"),
    "round to a number beyond all": (*TARGET, "--round-to", "9" * 23),
    "layer with a number beyond all": (*TARGET, "--layer", f"*conv1*={'9' * 5000}"),
    "input shape beyond all": (*TARGET, "--input-shape", f"input=1,1,8,{'9' * 5000}"),
    "seed -1": (*TARGET, "--seed", "-1"),
    "seed 1.5": (*TARGET, "--seed", "1.5"),
    "layer without a number": (*TARGET, "--layer", "*conv1*"),
    "layer with a word": (*TARGET, "--layer", "*conv1*=few"),
    "layer with a square": (*TARGET, "--layer", "*conv1*=²"),
    "layer of less than none": (*TARGET, "--layer", "*conv1*=-1"),
    "layer without a glob": (*TARGET, "--layer", "=4"),
    "input shape without a name": (*TARGET, "--input-shape", "1,1,8,8"),
    "input shape of words": (*TARGET, "--input-shape", "input=1,one,8,8"),
    "input shape of zero": (*TARGET, "--input-shape", "input=0,1,8,8"),
    "input shape of another input": (*TARGET, "--input-shape", "inptu=1,1,8,8"),
    "input shape of another rank": (*TARGET, "--input-shape", "input=1,1,8"),
    "input shape of another size": (*TARGET, "--input-shape", "input=1,1,8,9"),
    "input shape given twice": (
        *TARGET,
        *("--input-shape", "input=1,1,8,8", "--input-shape", "input=2,1,8,8"),
    ),
    "a second model": ("other.onnx", *TARGET),
}


@pytest.mark.parametrize("kind", USAGE)
def test_usage(refuses, model, tmp_path, kind):
    refuses("prune", model, "-o", tmp_path / "small.onnx", *USAGE[kind], code=2)


@pytest.mark.parametrize(
    "argv", [("prune",), ("nothing",), ("verify", "a.onnx"), ("evaluate", "a.onnx")]
)
def test_arguments_are_missing(refuses, argv):
    refuses(*argv, code=2)


def test_a_misspelt_input_is_named_with_its_near_miss(refuses, model):
    refuses("analyze", model, "--input-shape", "inptu=1,1,8,8", code=2, says=("'input'",))


@pytest.mark.parametrize("target", ["--macs-reduction", "--params-reduction"])
def test_a_reduction_out_of_reach(refuses, model, target):
    refuses("prune", model, target, "0.99999", says=("cannot be reached", "at most"))


def test_a_round_multiple_that_nothing_reaches_changes_nothing(call, model, tmp_path):
    out = tmp_path / "small.onnx"
    assert call("prune", model, "-o", out, *HALF, "--round-to", "1000").code == 0
    assert json.loads((tmp_path / "small.report.json").read_text())["cuts"] == []
