"""The report says what the contract promises, and what it says is true of the files."""

import json
import re
import shutil
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import pytest
from report_counts import arrays, bare, channels, macs, params, widths

N = (int, float)
METHODS = ("reprune", "representative", "l1", "l2", "fpgm", "bn-gamma", "random")
STAGES = ["load", "analyze", "allocate", "select", "cut", "verify", "recover", "int8"]
STAGES += ["write", "total"]
OPTIONS = {
    *("sparsity", "macs_reduction", "params_reduction", "keep", "method", "coverage", "linkage"),
    *("cutoff", "tie_break", "seed", "allocation", "residual", "input_channels", "include"),
    *("exclude", "layer", "min_channels", "round_to", "target", "precision", "input_shapes"),
    *("calibration", "calibration_size", "preprocess", "verify", "jobs"),
}


# ── every field ─────────────────────────────────────────────────────────────────────────────────


def test_every_field_of_the_contract_is_there(prune, model):
    report, out = prune("--sparsity", "0.55", "--recover", "auto")
    assert report["schema"] == 1
    assert set(report["tool"]) == {"name", "version"}
    assert report["tool"]["name"] == "reprune-onnx"
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", report["tool"]["version"])
    assert report["source"] == {
        "path": str(model),
        "sha256": sha256(model.read_bytes()).hexdigest(),
    }
    assert set(report["settings"]) >= OPTIONS
    assert report["settings"]["seed"] == 0
    for when in ("before", "after"):
        assert set(report[when]) == {"params", "macs", "bytes", "channels"}
        assert all(type(v) is int for v in report[when].values())
    assert report["requested"] == {"sparsity": 0.55}
    assert set(report["achieved"]) == {"sparsity", "macs_reduction", "params_reduction"}
    assert all(0 < v < 1 for v in report["achieved"].values())
    recovery = report["recovery"]
    assert set(recovery) >= {"method", "samples", "seconds"}
    instead = report["without_images"]
    assert instead["taken"] == "generated"
    assert set(instead) == {"taken", "why", "error", "held_out", "seconds"}
    assert (recovery["method"], recovery["samples"]) == ("least-squares", 80)
    assert list(report["seconds"]) == STAGES
    assert all(isinstance(v, N) and v >= 0 for v in report["seconds"].values())
    assert report["seconds"]["total"] == pytest.approx(
        sum(report["seconds"][s] for s in STAGES[:-1]), abs=1e-2
    )
    assert out.exists()


def test_layers_cuts_and_locks_have_their_fields(prune):
    report, _ = prune("--sparsity", "0.55", "--recover", "auto", "--method", "reprune")
    assert len(report["layers"]) == 16
    for layer in report["layers"]:
        assert set(layer) == {
            *("node", "weight", "op", "group", "out_channels"),
            *("sparsity", "coverage", "bn", "gamma_source", "stays", "stays_macs"),
        }
        before, after = layer["out_channels"]
        assert type(before) is type(after) is type(layer["group"]) is int
        assert layer["sparsity"] == pytest.approx(1 - after / before, abs=1e-6)
        # deviations are measured of layers whose channels may go, which those of the Gemm may not
        assert layer["gamma_source"] == ("bn" if layer["op"] == "Conv" else "weights")
        assert (layer["bn"] is None) == (layer["op"] == "Gemm")
        assert (layer["stays"] is None) == (after < before)
        if after < before:
            assert 0 < layer["coverage"] <= 1
        else:
            assert layer["coverage"] is None
    for cut in report["cuts"]:
        assert set(cut) == {"initializer", "axis", "keep"}
        assert cut["keep"] == sorted(set(cut["keep"]))
        assert all(type(i) is int for i in cut["keep"])
    assert report["rewritten"] == []  # nothing in this graph counts channels
    for lock in report["locked"]:
        assert set(lock) == {"node", "channels", "reason"}
        assert type(lock["channels"]) is int
        assert lock["reason"]
    v = report["verification"]
    assert set(v) >= {"passed", "max_abs_diff", "scale", "negative_control"}
    assert v["passed"] is True
    assert v["max_abs_diff"] <= 1e-5 * v["scale"]
    assert v["negative_control"] >= 1e-2 * v["scale"]


@pytest.mark.parametrize("method", METHODS)
def test_coverage_is_reported_for_algorithm_1(prune, method):
    report, _ = prune("--sparsity", "0.5", "--method", method)
    pruned = [k for k in report["layers"] if k["out_channels"][1] < k["out_channels"][0]]
    assert pruned
    assert all((k["coverage"] is not None) == (method == "reprune") for k in pruned)
    assert report["settings"]["method"] == method
    assert report["verification"]["passed"]


@pytest.mark.parametrize("residual", ["keep", "inner", "prune"])
def test_the_numbers_are_those_of_the_files(prune, model, residual):
    report, out = prune("--sparsity", "0.6", "--residual", residual)
    for path, said in ((model, report["before"]), (out, report["after"])):
        assert said["params"] == params(path)
        assert said["macs"] == macs(path)
        assert said["bytes"] == path.stat().st_size
        assert said["channels"] == channels(path)
    before, after = report["before"], report["after"]
    for name in ("macs", "params"):
        share = 1 - after[name] / before[name]
        assert report["achieved"][f"{name}_reduction"] == pytest.approx(share, abs=1e-6)


@pytest.mark.parametrize("residual", ["keep", "prune"])
def test_the_cuts_make_every_tensor(prune, model, residual):
    report, out = prune("--sparsity", "0.6", "--residual", residual, "--recover", "none")
    before, after = arrays(model), arrays(out)
    assert list(before) == list(after)
    changed = set()
    for cut in report["cuts"]:
        name = cut["initializer"]
        changed.add(name)
        before[name] = np.take(before[name], cut["keep"], axis=cut["axis"])
    assert changed
    for name, array in after.items():
        assert array.dtype == before[name].dtype
        np.testing.assert_array_equal(array, before[name])
    original = arrays(model)
    assert changed == {name for name in original if original[name].shape != after[name].shape}


def test_sparsity_is_the_share_of_prunable_channels(prune):
    report, _ = prune("--sparsity", "0.55")
    locked = {"stem", "shortcut", "conv2", "fc"}
    inner = [w for n, w in widths(report).items() if not any(part in n for part in locked)]
    free, gone = sum(w[0] for w in inner[:6]), sum(w[0] - w[1] for w in inner[:6])
    assert free == 192
    assert report["achieved"]["sparsity"] == pytest.approx(gone / free, abs=1e-6)
    assert gone == 106  # ⌈0.55 · 192⌉


def test_the_pruned_file_says_where_it_comes_from(prune, model):
    report, out = prune("--sparsity", "0.55", "--seed", "7")
    stamp = {p.key: p.value for p in onnx.load(out).metadata_props}
    assert stamp["reprune_onnx.version"] == report["tool"]["version"]
    assert stamp["reprune_onnx.source_sha256"] == report["source"]["sha256"]
    settings = json.loads(stamp["reprune_onnx.settings"])
    assert settings["seed"] == 7
    assert settings["sparsity"] == 0.55
    assert str(model.parent) not in out.read_bytes().decode("latin-1")
    assert "jobs" not in settings


# ── a selection again ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("residual", ["keep", "prune"])
def test_a_report_applied_again_gives_the_same_model(prune, tmp_path, residual):
    how = ("--residual", residual)
    report, out = prune("--sparsity", "0.6", *how)
    again, same = prune("--keep", tmp_path / "small.report.json", *how, name="again")
    assert bare(same) == bare(out)
    assert again["cuts"] == report["cuts"]
    assert again["requested"] == {}
    assert again["achieved"] == report["achieved"]
    assert again["verification"]["passed"]


def test_cuts_of_output_channels_are_enough(prune, tmp_path):
    report, out = prune("--sparsity", "0.6")
    weights = {layer["weight"] for layer in report["layers"]}
    cuts = [c for c in report["cuts"] if c["axis"] == 0 and c["initializer"] in weights]
    assert 0 < len(cuts) < len(report["cuts"])
    short = tmp_path / "short.json"
    short.write_text(json.dumps({"cuts": cuts}))
    _, same = prune("--keep", short, name="again")
    assert bare(same) == bare(out)


def test_a_pair_is_verified_from_its_report(call, prune, model, tmp_path):
    _, out = prune("--sparsity", "0.6", "--residual", "prune", "--recover", "none")
    before = sorted(tmp_path.iterdir())
    result = call("verify", model, out)
    assert result.code == 0
    assert re.match(r"verified on \d+ inputs: ", result.out)
    moved = Path(shutil.move(tmp_path / "small.report.json", tmp_path / "moved.json"))
    assert call("verify", model, out).code == 1
    assert call("verify", model, out, "--report", moved, "--quiet").out == ""
    shutil.move(moved, tmp_path / "small.report.json")
    assert sorted(tmp_path.iterdir()) == before


# ── the other commands' JSON ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("residual", ["keep", "inner", "prune"])
def test_analyze_states_what_prune_finds(call, prune, model, tmp_path, residual):
    result = call("analyze", model, "--json", "-", "--residual", residual)
    assert (result.code, result.err) == (0, "")
    printed = json.loads(result.out)
    assert printed["summary"]["conv_layers"] == 15
    assert printed["macs"] == macs(model)
    assert printed["params"] == params(model)
    assert len(printed["conv_bn"]) == 15
    how = ("--residual", residual, "--allocation", "uniform", "--method", "l1")
    report, _ = prune("--sparsity", "0.999", *how)
    cut = [n for n, (before, after) in widths(report).items() if after < before]
    assert printed["summary"]["prunable_conv_layers"] == len(cut)
    assert printed["summary"]["largest_macs_reduction"] >= (
        report["achieved"]["macs_reduction"] - 1e-4
    )
    assert printed["locked"] == report["locked"]
    assert sum(g["channels"] for g in printed["groups"]) >= sum(
        g["prunable"] for g in printed["groups"]
    )
    path = tmp_path / "analysis.json"
    quiet = call("analyze", model, "--json", path, "--residual", residual, "--quiet")
    assert (quiet.code, quiet.out) == (0, "")
    assert json.loads(path.read_text()) == printed


def test_analyze_prints_a_table(call, model):
    result = call("analyze", model)
    assert result.code == 0
    assert "prunable: 6 of 16 layers" in result.out
    assert "meets the residual Add" in result.out


def test_evaluate_states_percentages(call, prune, model, digits):
    _, out = prune("--sparsity", "0.55")
    how = ("--data", digits, "--preprocess", "scale=1/16", "--json", "-")
    printed = json.loads(call("evaluate", model, *how).out)
    assert set(printed) >= {"n", "top1", "top5", "agreement", "mean_kl"}
    assert printed["n"] == 597
    assert printed["top1"] == pytest.approx(100 * 594 / 597)
    assert printed["agreement"] is None
    printed = json.loads(call("evaluate", out, *how, "--against", model).out)
    assert 50 < printed["agreement"] < 100
    assert printed["top1"] <= printed["top5"] <= 100
    assert printed["mean_kl"] > 0
