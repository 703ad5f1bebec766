"""Targets that only attempts can reach: a latency, or a drop of accuracy."""

import json
import threading

import numpy as np
import onnx
import pytest
from report_counts import widths
from steady_machine import RUN, SteadyMachine, of_work

import reprune_onnx as rp
from reprune_onnx.analyzer import channels_of, graph_of
from reprune_onnx.latency.measure import measure_layers
from reprune_onnx.latency.models import latencies

IMAGES = ("--preprocess", "scale=1/16", "--calibration-size", "900")


def table(model, ms=1.0):
    """A device on which only the layers of stage 3 take time."""
    columns = {(1, 1): 32, (1, 2): 48, (2, 1): 48, (2, 2): 48}
    layers = [
        {"layer": f"/stage3/block{b}/conv{c}/Conv", "rows": 48, "columns": n, "ms": ms}
        for (b, c), n in columns.items()
    ]
    return {"machine": "made up", "layers": layers}


@pytest.fixture
def latency_table(model, tmp_path):
    path = tmp_path / "device.json"
    path.write_text(json.dumps(table(model)))
    return path


@pytest.mark.parametrize("allocation", ["uniform", "bn-gamma"])
def test_a_devices_table_says_what_is_slow(prune, latency_table, allocation):
    how = ("--latency-table", latency_table, "--allocation", allocation)
    report, _ = prune("--latency-reduction", "0.5", *how)
    assert report["requested"] == {"latency_reduction": 0.5}
    assert report["achieved"]["latency_reduction"] == pytest.approx(0.5, abs=0.02)
    kept = widths(report)
    share = [kept[row["layer"]] for row in table(None)["layers"]]
    taken = sum(a / b for b, a in share[::2]) / 2  # conv1's rows, which are conv2's columns
    assert 1 - taken == pytest.approx(report["achieved"]["latency_reduction"], abs=1e-6)
    assert any("estimated from 'device.json'" in note for note in report["notes"])


def test_with_images_only_the_slow_layers_shrink(prune, latency_table, digits):
    how = ("--latency-table", latency_table, "--calibration", digits, *IMAGES)
    report, _ = prune("--latency-reduction", "0.5", *how)
    assert report["achieved"]["latency_reduction"] >= 0.5 - 1e-6
    thin = {name for name, (before, after) in widths(report).items() if after < before}
    assert thin == {"/stage3/block1/conv1/Conv", "/stage3/block2/conv1/Conv"}


def mostly_waiting(proto):
    return 1e-2 + of_work(proto)


HOW = ("--allocation", "uniform", "--residual", "prune")  # much more than is asked could go


@pytest.mark.parametrize("of_model", [of_work, lambda proto: of_work(proto) ** 0.5])
def test_the_latency_here_is_measured_and_can_be_repeated(prune, tmp_path, monkeypatch, of_model):
    """Also where the model as a whole gains less than its layers."""
    SteadyMachine(monkeypatch, of_model, of_work)
    report, out = prune("--latency-reduction", "0.3", *HOW)
    entry = report["latency"]
    assert entry["after_ms"] == pytest.approx(1e3 * (RUN + of_model(onnx.load(out))))
    reached = 1 - entry["after_ms"] / entry["before_ms"]
    assert report["achieved"]["latency_reduction"] == pytest.approx(reached, abs=1e-6)
    assert report["settings"]["round_to"] == 8
    assert any("--round-to 1" in note for note in report["notes"])
    assert report["rounding"]["unrounded"] is None
    assert reached == pytest.approx(0.3, abs=0.04)  # as near as whole channels come
    names = {layer["node"] for layer in report["layers"]}
    assert {row["layer"] for row in entry["layers"]} == names
    again, _ = prune(
        *("--latency-reduction", "0.3", "--latency-table", tmp_path / "small.report.json"),
        *HOW,
        name="again",
    )
    assert again["latency"] is None
    assert again["achieved"]["latency_reduction"] == pytest.approx(0.3, abs=0.04)


def test_what_single_layers_say_can_go_is_not_the_last_word(prune, monkeypatch):
    """As on a machine that is busy, where a layer waits longer than it computes."""
    SteadyMachine(monkeypatch, of_work, mostly_waiting)
    report, _ = prune("--latency-reduction", "0.5", *HOW, "--round-to", "1")
    assert report["achieved"]["latency_reduction"] == pytest.approx(0.5, abs=0.04)
    assert report["settings"]["round_to"] == 1
    assert report["rounding"] is None
    assert not any("--round-to" in note for note in report["notes"])


def test_less_latency_than_any_cut_gives_is_refused(refuses, model, tmp_path, monkeypatch):
    SteadyMachine(monkeypatch, mostly_waiting, of_work)
    how = ("prune", model, "-o", tmp_path / "o.onnx", "--latency-reduction", "0.9")
    refuses(*how, "--allocation", "uniform", says=("(measured); allow more with --residual prune",))
    refuses(*how, *HOW, says=("90.0% less latency", "in multiples of 8 (measured); allow more"))
    refuses(*how, *HOW, "--round-to", "1", says=("can go here (measured); ask for less",))


def test_what_is_timed_starts_no_thread(demo, monkeypatch):
    """The one run that Ctrl-C can stop is in a thread beside; on small models that takes longer."""
    model = rp.load(demo)
    graph = graph_of(model)
    channels = channels_of(graph, rp.Scope())
    began = []
    started = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", lambda t: (began.append(t), started(t)))
    (ms,) = latencies([model], channels.input_shapes)
    table = measure_layers(graph, channels, ms)
    assert len(began) == 1
    assert ms > 0
    assert {row.layer for row in table.layers} == {layer.name for layer in channels.layers}
    assert all(row.ms > 0 for row in table.layers)


def test_bad_latency_tables(refuses, model, tmp_path):
    path, out = tmp_path / "t.json", tmp_path / "o.onnx"
    how = ("prune", model, "-o", out, "--latency-reduction", "0.3", "--latency-table", path)
    refuses(*how, says=("No such file",))
    for text in ("{", "[]", '{"layers": [{}]}', '{"layers": 5}', '{"latency": null}'):
        path.write_text(text)
        refuses(*how, says=("no latency table",))
    path.write_text(json.dumps(table(model, ms=-1.0)))
    refuses(*how, says=("no latency table", "-1.0 ms"))
    path.write_text(json.dumps({"layers": [{"layer": "x", "rows": 1, "columns": 1, "ms": 1}]}))
    refuses(*how, says=("none of the model's layers",))
    path.write_text(json.dumps(table(model)))
    refuses("prune", model, "-o", out, "--sparsity", "0.3", "--latency-table", path, code=2)
    how = ("prune", model, "-o", out, "--latency-table", path, "--latency-reduction")
    refuses(*how, "0.999", says=("99.9% less latency cannot be reached",))


@pytest.mark.parametrize("labels", [True, False])
def test_the_smallest_model_within_a_drop(prune, digits, tmp_path, labels):
    images = digits
    if not labels:
        images = tmp_path / "unlabelled.npz"
        np.savez(images, x_train=np.load(digits)["x_train"])
    report, _ = prune("--max-drop", "1", "--calibration", images, *IMAGES)
    entry = report["drop"]
    assert entry["measure"] == ("accuracy" if labels else "agreement")
    assert 280 <= entry["images"] <= 320
    assert report["achieved"]["max_drop"] == pytest.approx(entry["before"] - entry["after"])
    assert report["achieved"]["max_drop"] <= 1
    assert report["achieved"]["macs_reduction"] > 0.5
    assert report["recovery"]["samples"] <= 900 - entry["images"]


def test_a_drop_that_cannot_be_measured(refuses, model, digits, tmp_path):
    how = ("prune", model, "-o", tmp_path / "o.onnx", "--max-drop", "1")
    refuses(*how, code=2, says=("--calibration",))
    few = ("--calibration", digits, "--calibration-size", "90")
    refuses(*how, *few, says=("at least 150",))
    refuses(*how[:-1], "100", "--calibration", digits, code=2, says=("outside [0, 100)",))


@pytest.mark.parametrize("method", ["l1", "reprune"])
@pytest.mark.parametrize("measure", ["macs", "params"])
def test_a_reduction_is_reached_where_layers_share_groups_unequally(
    call, shared, tmp_path, method, measure
):
    """Shuffles tie channels of many layers; what a number of them costs depends on which go."""
    out = tmp_path / "small.onnx"
    result = call(
        *("prune", shared / "models" / "derived_shufflenetv2_fp32.onnx", "-o", out),
        *(f"--{measure}-reduction", "0.3", "--method", method, "--allocation", "uniform"),
        *("--recover", "none"),
    )
    assert result.code == 0, result.err
    report = json.loads((tmp_path / "small.report.json").read_text())
    assert report["achieved"][f"{measure}_reduction"] == pytest.approx(0.3, abs=0.01)
