"""`prune --then int8`: both files, four rows, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

import reprune_onnx as rp
from reprune_onnx.analyzer.quantized import quantized_nodes
from reprune_onnx.deployment.half import half
from reprune_onnx.runtime.ort import Session

DIGITS = ("--preprocess", "scale=1/16")
FOUR = ["float", "pruned", "int8", "pruned int8"]


@pytest.fixture(scope="module")
def done(tmp_path_factory, demo, digits, command_line):
    """The folder of one run on labelled digits."""
    folder = tmp_path_factory.mktemp("int8")
    options = ("--macs-reduction", "0.3", "--calibration", f"{digits}:x_train,y_train", *DIGITS)
    command_line.main(
        args=["prune", str(demo), *options, "--then", "int8", "-o", str(folder / "small.onnx")],
        standalone_mode=False,
    )
    return folder


def test_both_files_lie_there_and_the_report_compares_four_models(done, demo):
    report = json.loads((done / "small.report.json").read_text())
    entry = report["int8"]
    assert [row["model"] for row in entry["rows"]] == FOUR
    assert entry["measure"] == "accuracy"
    rows = {row["model"]: row for row in entry["rows"]}
    for name, file in {"float": demo, "pruned": "small", "pruned int8": "small-int8"}.items():
        path = demo if name == "float" else done / f"{file}.onnx"
        assert rows[name]["bytes"] == path.stat().st_size
    assert rows["float"]["error"] == 0 and rows["int8"]["error"] > 0
    assert rows["pruned int8"]["bytes"] < 0.7 * rows["pruned"]["bytes"]
    assert all(row["ms"] > 0 for row in entry["rows"])
    assert entry["images"] > entry["held_out"] > 0
    assert report["seconds"]["int8"] > 0


def test_int8_costs_a_point_at_most_on_the_test_images(done, digits):
    data = f"{digits}:x,y"
    pruned, both = (
        rp.evaluate(done / f"{name}.onnx", _data(done / f"{name}.onnx", data)).top1
        for name in ("small", "small-int8")
    )
    assert both > pruned - 1


def test_the_file_is_valid_quantized_and_says_what_made_it(done, demo):
    model = onnx.load(done / "small-int8.onnx")
    onnx.checker.check_model(model)
    assert {n.op_type for n in quantized_nodes(model)} == {"QuantizeLinear", "DequantizeLinear"}
    metadata = {p.key: p.value for p in model.metadata_props}
    assert json.loads(metadata["reprune_onnx.settings"])["then"] == "int8"
    original = onnx.load(demo)
    for side in ("input", "output"):
        names = [[v.name for v in getattr(m.graph, side)] for m in (original, model)]
        assert names[0] == names[1]


def test_the_pruned_file_is_proven_as_ever(done, demo, call):
    result = call("verify", demo, done / "small.onnx")
    assert result.code == 0, result.err


def test_from_python_the_model_in_int8_is_there(demo, digits):
    with np.load(digits) as arrays:
        images = arrays["x_train"]
    how = rp.Settings(macs_reduction=0.3, calibration=images, preprocess="scale=1/16", then="int8")
    result = rp.prune(demo, how)
    assert result.int8 is not None
    assert result.report["int8"]["measure"] == "agreement"
    x = np.zeros((1, 1, 8, 8), np.float32)
    name = Session(result.int8.proto, optimize=True).inputs[0].name
    outputs = [Session(m.proto, optimize=True).run({name: x}) for m in (result.model, result.int8)]
    for a, b in zip(*(o.values() for o in outputs), strict=True):
        assert a.shape == b.shape and np.isfinite(b).all()
    assert rp.prune(demo, rp.Settings(sparsity=0.3, recover="none")).int8 is None


def test_without_images_generated_ones_serve(demo):
    result = rp.prune(demo, rp.Settings(macs_reduction=0.3, then="int8"))
    assert result.int8 is not None
    assert result.report["without_images"] is not None
    assert result.report["int8"]["held_out"] > 0


def test_a_file_in_the_way_is_not_replaced(call, model, digits):
    (model.parent / "model-pruned-int8.onnx").write_text("mine")
    how = ("--sparsity", "0.3", "--calibration", f"{digits}:x_train", *DIGITS, "--then", "int8")
    result = call("prune", model, *how)
    assert result.code == 1 and "model-pruned-int8.onnx' exists" in result.err
    assert (model.parent / "model-pruned-int8.onnx").read_text() == "mine"
    assert not (model.parent / "model-pruned.onnx").exists()


def test_a_dry_run_writes_no_model(call, model, digits):
    how = ("--sparsity", "0.3", "--calibration", f"{digits}:x_train", *DIGITS, "--then", "int8")
    result = call("prune", model, *how, "--dry-run")
    assert result.code == 0, result.err
    assert "pruned int8" in result.out
    assert sorted(p.suffix for p in model.parent.iterdir()) == [".json", ".onnx"]


def test_another_form_is_refused_by_its_name(call, model):
    result = call("prune", model, "--sparsity", "0.3", "--then", "int9")
    assert result.code == 2 and "int9" in result.err and "int8" in result.err


def test_a_model_in_float16_is_refused_before_anything_is_computed(call, model, digits):
    loaded = rp.load(model)
    rp.save(half(loaded, lambda: []).model, model)
    how = ("--calibration", f"{digits}:x_train", *DIGITS)
    result = call("prune", model, "--sparsity", "0.3", *how, "--then", "int8")
    assert result.code == 1 and "export it in float32, or leave --then out" in result.err


def test_a_detector_without_images_of_its_own_is_refused(call, model):
    how = ("--macs-reduction", "0.3", "--then", "int8", "--task", "detection")
    result = call("prune", model, *how)
    assert result.code == 2 and "images of your own" in result.err


def test_a_target_that_wants_another_format_says_which_command_writes_it(call, model, digits):
    how = ("--calibration", f"{digits}:x_train", *DIGITS, "--target", "rtx-a6000")
    result = call("prune", model, "--sparsity", "0.3", *how, "--then", "int8")
    assert result.code == 2
    assert "convert --target rtx-a6000 --precision int8" in result.err


def _data(model, data):
    from reprune_onnx.activations.opened import Wanted, open_for
    from reprune_onnx.data.reading import Reading

    return open_for(rp.load(model).proto, Wanted(data, Reading("scale=1/16")), {})
