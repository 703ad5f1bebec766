"""Every option of prune does what the contract says."""

import json
from fnmatch import fnmatchcase

import numpy as np
import pytest
import text_graphs
from report_counts import macs, params, widths

import reprune_onnx as rp


def test_a_dry_run_writes_the_report_and_no_model(call, prune, model, tmp_path):
    how = ("--sparsity", "0.5", "--recover", "data-free")
    wet, _ = prune(*how, name="wet")
    out = tmp_path / "dry.onnx"
    result = call("prune", model, "-o", out, *how, "--dry-run")
    assert result.code == 0
    assert not out.exists()
    dry = json.loads((tmp_path / "dry.report.json").read_text())
    for name in ("cuts", "layers", "before", "after", "achieved", "locked", "source"):
        assert dry[name] == wet[name]
    # the model need not be absent for it: a dry run does not want its place
    out.write_bytes(b"")
    assert call("prune", model, "-o", out, *how, "--dry-run", "-f").code == 0
    assert out.read_bytes() == b""


def test_a_search_counts_its_attempts_and_keeps_the_basis_of_the_file(prune, digits):
    how = ("--macs-reduction", "0.3", "--residual", "prune", "--calibration", digits)
    how = (*how, "--calibration-size", "96", "--preprocess", "scale=1/16")
    report, _ = prune(*how, "--search", "1", "--basis", "file")
    assert report["search"]["attempts"] >= 2
    assert report["search"]["error"] <= report["search"]["error_first"]
    assert report["turned"] == []
    assert report["verification"]["passed"]


def test_files_lie_beside_the_model_by_default(call, model, tmp_path):
    assert call("prune", model, "--sparsity", "0.5", "--recover", "none").code == 0
    names = {p.name for p in tmp_path.iterdir()}
    assert names == {"model.onnx", "model-pruned.onnx", "model-pruned.report.json"}


def test_quiet_is_quiet(call, model):
    result = call("prune", model, "--sparsity", "0.5", "--recover", "none", "--quiet")
    assert (result.code, result.out, result.err) == (0, "", "")


def test_widths_by_hand_are_all_that_goes(prune, call, model, tmp_path):
    """`--sparsity 0` and nothing but `--layer`: the last glob wins, and the line says what cut."""
    globs = ("--layer", "*stage1/*/conv1*=8", "--layer", "*stage1/block2/conv1*=5")
    report, _ = prune("--sparsity", "0", *globs)
    cut = {name: w for name, w in widths(report).items() if w[0] != w[1]}
    assert cut == {"/stage1/block1/conv1/Conv": [16, 8], "/stage1/block2/conv1/Conv": [16, 5]}
    assert report["verification"]["passed"]
    assert (
        report["missed"]["why"]
        == "no layer keeps more than it may (--layer): no less than this goes"
    )
    result = call("prune", model, "-o", tmp_path / "o.onnx", "--sparsity", "0", *globs)
    assert "(--layer): no less than this goes" in " ".join(result.out.split())
    # the controls: nothing by hand, nothing goes; coupled layers take one number for all
    report, _ = prune("--sparsity", "0", name="whole")
    assert report["before"]["macs"] == report["after"]["macs"]
    assert report["missed"] is None
    coupled = ("--residual", "prune", "--layer", "/stage2/block1/conv2*=9")
    report, _ = prune("--sparsity", "0", *coupled, name="coupled")
    assert widths(report)["/stage2/block2/conv2/Conv"] == [32, 9]


def test_the_cut_off_decides_which_channels_stay(prune):
    how = ("--sparsity", "0.5", "--allocation", "uniform")
    by_count, _ = prune(*how, "--cutoff", "merge-count", name="by_count")
    by_height, _ = prune(*how, "--cutoff", "height", name="by_height")
    assert by_height["settings"]["cutoff"] == "height"
    assert by_height["cuts"] != by_count["cuts"]
    assert widths(by_height) == widths(by_count)


def test_where_nothing_is_cut_no_wrong_cut_is_spoken_of(call, model, tmp_path):
    out, page = tmp_path / "o.onnx", tmp_path / "page.html"
    result = call("prune", model, "-o", out, "--sparsity", "0")
    assert "masked original at scale" in result.out
    assert "; nothing was cut" in result.out
    assert call("verify", model, out).out.rstrip().endswith("; nothing was cut")
    report = tmp_path / "o.report.json"
    assert call("report", report, "-o", page).code == 0
    assert "nothing was cut" in page.read_text()
    assert call("prune", model, "-o", out, "-f", "--sparsity", "0.2", "--recover", "none").code == 0
    wrong = call("verify", model, out).out
    assert "a deliberately wrong cut differs by" in wrong
    assert "nothing was cut" not in wrong


def test_layer_says_how_many_channels_stay(prune):
    name = "/stage3/block1/conv1/Conv"
    report, _ = prune("--sparsity", "0.5", "--layer", f"{name}=11")
    assert widths(report)[name] == [48, 11]
    report, _ = prune("--sparsity", "0", "--layer", "/stage2/*/conv1/Conv=7", name="globs")
    cut = {n: w for n, w in widths(report).items() if w[1] < w[0]}
    assert cut == {
        "/stage2/block1/conv1/Conv": [32, 7],
        "/stage2/block2/conv1/Conv": [32, 7],
    }


def test_of_two_overrides_for_a_layer_the_later_one_holds(prune):
    name = "/stage3/block1/conv1/Conv"
    report, _ = prune("--sparsity", "0.5", "--layer", "*conv1*=9", "--layer", f"{name}=11")
    assert widths(report)[name] == [48, 11]
    assert widths(report)["/stage3/block2/conv1/Conv"] == [48, 9]


def test_no_layer_keeps_less_than_the_minimum(prune):
    free, _ = prune("--sparsity", "0.9", name="free")
    assert min(after for _, after in widths(free).values()) < 6
    report, _ = prune("--sparsity", "0.9", "--min-channels", "6")
    cut = [after for before, after in widths(report).values() if after < before]
    assert cut
    assert min(cut) == 6


@pytest.mark.parametrize("multiple", [4, 8, 5])
def test_kept_channels_become_a_multiple(prune, multiple):
    report, _ = prune("--sparsity", "0.5", "--round-to", multiple)
    cut = [after for before, after in widths(report).values() if after < before]
    assert cut
    assert all(after % multiple == 0 for after in cut)


@pytest.mark.parametrize("method", ["reprune", "l1"])
@pytest.mark.parametrize(
    ("name", "exceptions"),
    [
        ("resnet20_cifar10_bn", False),
        ("fastestdet", False),
        ("mp_palm_detection_lite", False),
        ("derived_shufflenetv2_fp32", True),  # two channels of 116 have to stay
    ],
)
def test_layers_that_have_parts_of_a_group_get_suitable_widths(
    call, shared, tmp_path, name, exceptions, method
):
    out = tmp_path / "small.onnx"
    result = call(
        *("prune", shared / "models" / f"{name}.onnx", "-o", out, "--round-to", "8"),
        *("--residual", "prune", "--macs-reduction", "0.4", "--allocation", "uniform"),
        *("--recover", "none", "--method", method),
    )
    assert result.code == 0, result.err
    report = json.loads((tmp_path / "small.report.json").read_text())
    assert report["achieved"]["macs_reduction"] >= 0.4 - 1e-6
    unsuited = [n for n in widths(report).values() if n[1] % 8 and n[1] != n[0]]
    assert bool(unsuited) == exceptions
    assert report["rounding"]["exceptions"] == len(unsuited)
    assert (f"but for {len(unsuited)} layers" in result.out) == exceptions


def test_groups_in_work_at_once_do_not_change_the_choice(prune, monkeypatch):
    bytes_ = []
    for at_once in (1, 2, 5):
        monkeypatch.setattr("reprune_onnx.pruner.selection._AT_ONCE", at_once)
        _, out = prune("--sparsity", "0.5", "--residual", "prune", name=f"at{at_once}")
        bytes_.append(out.read_bytes())
    assert bytes_[0] == bytes_[1] == bytes_[2]


@pytest.mark.parametrize(
    ("asked", "share"), [("sparsity", 0.5), ("macs_reduction", 0.25), ("params_reduction", 0.4)]
)
@pytest.mark.parametrize("allocation", ["uniform", "bn-gamma"])
def test_a_target_rounds_widths_and_keeps_to_what_was_asked(prune, asked, share, allocation):
    option = f"--{asked.replace('_', '-')}"
    report, _ = prune(option, str(share), "--target", "cpu", "--allocation", allocation)
    assert all(after % 16 == 0 and after > 0 for _, after in widths(report).values() if after > 10)
    assert any(after < before for before, after in widths(report).values())
    assert report["requested"] == {asked: share}
    assert report["achieved"][asked] >= share - 1e-6
    entry = report["rounding"]
    assert (entry["target"], entry["multiple"], entry["narrow"]) == ("cpu", 16, None)
    assert entry["unrounded"][asked] == pytest.approx(share, abs=0.04)
    assert report["settings"]["round_to"] == 16


def test_with_images_a_target_bounds_the_choices(prune, digits):
    images = ("--calibration", digits, "--preprocess", "scale=1/16")
    report, _ = prune("--macs-reduction", "0.25", "--target", "cpu", *images)
    assert all(after % 16 == 0 for _, after in widths(report).values() if after > 10)
    assert report["achieved"]["macs_reduction"] >= 0.25
    assert report["rounding"]["unrounded"] is None


def test_a_target_may_make_a_reduction_impossible(refuses, model, tmp_path):
    how = ("prune", model, "-o", tmp_path / "o.onnx", "--target", "cpu", "--macs-reduction")
    refuses(*how, "0.5", says=("at most 32.1%", "multiples of 16", "smaller --round-to"))
    refuses(*how, "0.3", "--target", "jetson-tx3", code=2, says=("did you mean 'jetson-tx2'",))


def test_include_and_exclude_bound_what_is_pruned(prune):
    cases = {
        ("--include", "/stage2/*"): lambda n: fnmatchcase(n, "/stage2/*"),
        ("--exclude", "/stage2/*"): lambda n: not fnmatchcase(n, "/stage2/*"),
        ("--include", "/stage2/*", "--include", "/stage3/*", "--exclude", "*block1*"): (
            lambda n: n.startswith(("/stage2/block2", "/stage3/block2"))
        ),
    }
    for k, (options, allowed) in enumerate(cases.items()):
        report, _ = prune("--sparsity", "0.5", *options, name=f"case{k}")
        cut = [n for n, (before, after) in widths(report).items() if after < before]
        assert cut
        assert all(allowed(n) for n in cut)
        assert any("clude" in lock["reason"] for lock in report["locked"])


@pytest.mark.parametrize("residual", ["keep", "prune"])
@pytest.mark.parametrize("allocation", ["bn-gamma", "uniform"])
@pytest.mark.parametrize("what", ["macs", "params"])
def test_a_reduction_is_met_as_nearly_as_channels_allow(prune, model, what, allocation, residual):
    options = (f"--{what}-reduction", "0.3", "--allocation", allocation, "--residual", residual)
    report, out = prune(*options, "--method", "l1")
    count = {"macs": macs, "params": params}[what]
    # coupled stages of 16, 32 and 48 channels lose one more at the same s: a step of 7 points
    step = 0.04 if (allocation, residual) == ("uniform", "prune") else 0.01
    assert 1 - count(out) / count(model) == pytest.approx(0.3, abs=step)
    assert report["requested"] == {f"{what}_reduction": 0.3}


def test_with_include_a_reduction_is_of_what_it_names(prune):
    options = ("--macs-reduction", "0.3", "--include", "/stage2/*", "--method", "l1")
    report, _ = prune(*options, "--allocation", "uniform")
    before, after = report["scope"]["macs"]
    assert 1 - after / before == pytest.approx(0.3, abs=0.02)
    assert report["achieved"]["macs_reduction"] == pytest.approx(1 - after / before, abs=1e-6)
    macs = [report[k]["macs"] for k in ("before", "after")]
    assert before < macs[0]
    # the next stage reads what stage 2 gives, so at least as much goes in all
    assert macs[0] - macs[1] >= before - after
    half, _ = prune(*options, "--exclude", "*block1*", name="half")
    assert half["scope"]["macs"][0] == before  # what is left alone still counts
    everywhere, _ = prune("--macs-reduction", "0.3", name="plain")
    assert everywhere["scope"] is None


def test_the_preset_is_a_default_that_options_override(prune):
    report, _ = prune("--sparsity", "0.5", "--preset", "paper", "--linkage", "single")
    assert report["settings"]["linkage"] == "single"
    assert report["settings"]["residual"] == "inner"
    assert report["settings"]["allocation"] == "bn-gamma"
    report, _ = prune("--sparsity", "0.5", "--preset", "paper", "--residual", "keep", name="b")
    assert report["settings"]["residual"] == "keep"


def test_without_memory_activations_go_to_a_disk_and_the_model_is_the_same(prune, digits):
    how = ("--sparsity", "0.5", "--calibration", digits, "--calibration-size", "64")
    free, model = prune(*how)
    tight, same = prune(*how, "--memory", "100K", name="tight")
    assert free["recovery"]["bytes_written"] == 0
    assert tight["recovery"]["bytes_written"] > 100_000
    assert model.read_bytes() == same.read_bytes()


def test_calibration_images_tell_gamma_where_no_batch_normalization_does():
    """Of layers whose channels may go; nothing is measured of the output's, which stay."""
    rng = np.random.default_rng(0)
    weights = {"first": rng.normal(size=(8, 3, 1, 1)), "last": rng.normal(size=(4, 8, 1, 1))}
    body = "{ c = Conv (x, first) r = Relu (c) y = Conv (r, last) }"
    head = '<ir_version: 8, opset_import: ["" : 17]> g (float[n,3,6,6] x) => (float[n,4,6,6] y) '
    images = rng.normal(size=(16, 3, 6, 6)).astype(np.float32)
    how = rp.Settings(sparsity=0.5, calibration=images, recover="none", verify=False)
    report = rp.prune(text_graphs.model(head + body, **weights), how).report
    sources = {layer["weight"]: layer["gamma_source"] for layer in report["layers"]}
    assert sources == {"first": "calibration", "last": "weights"}


def test_clustering_the_kept_input_channels_is_another_problem(prune):
    how = ("--sparsity", "0.5", "--allocation", "uniform", "--residual", "prune")
    all_inputs, _ = prune(*how, "--tie-break", "max-l2")
    kept, _ = prune(*how, "--tie-break", "max-l2", "--input-channels", "kept", name="kept")
    assert widths(kept) == widths(all_inputs)
    assert kept["cuts"] != all_inputs["cuts"]


@pytest.mark.parametrize("option", [("--task", "detection"), ("--decode", "yolox")])
def test_what_is_measured_is_said_of_a_search_that_measures(call, model, option):
    result = call("prune", model, "--sparsity", "0.5", *option)
    assert result.code == 2
    assert "--task and --decode go with --max-drop" in result.err
