"""The measures of --max-drop and sweep for models that are no classifiers."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import text_graphs
from onnx import numpy_helper
from PIL import Image

import reprune_onnx as rp
from reprune_onnx.activations.images import Images
from reprune_onnx.errors import DataError, ModelError
from reprune_onnx.search import by_attempts
from reprune_onnx.search.score import measured_on, score, score_of, title
from reprune_onnx.settings import Settings
from reprune_onnx.sweeps.pareto import best, measure_of
from reprune_onnx.sweeps.sweep import SweepOptions, sweep

COCO = pytest.mark.skipif(
    find_spec("pycocotools") is None, reason="average precision needs pycocotools"
)
HEAD = '<ir_version: 8, opset_import: ["": 17]> g (float[n,3,32,32] x) => (float[a,b,c] y) '
MAPS = HEAD.replace("float[a,b,c]", "float[a,b,c,d]")
BODY = "h = Conv <pads = [1,1,1,1]> (x, w) r = Relu (h) "
HEADS = {
    "detection": BODY
    + """a = Conv <strides = [8,8]> (r, v, bias)
    b = MaxPool <kernel_shape = [2,2], strides = [2,2]> (a) d = Reshape (a, cells)
    c = MaxPool <kernel_shape = [2,2], strides = [2,2]> (b) e = Reshape (b, cells)
    f = Reshape (c, cells) all = Concat <axis = 2> (d, e, f)
    box, logit = Split <axis = 1> (all, parts) p = Sigmoid (logit)
    y = Concat <axis = 1> (box, p)""",
    "semantic-segmentation": BODY + "y = Conv (r, m)",
    "regression": BODY + "y = Conv (r, m)",
}
TASKS = [pytest.param(task, marks=[COCO] if task == "detection" else []) for task in HEADS]
rng = np.random.default_rng(3)
IMAGES = rng.random((160, 3, 32, 32)).astype(np.float32)
WEIGHTS = {
    "w": rng.standard_normal((16, 3, 3, 3)),
    "v": rng.standard_normal((7, 16, 8, 8)) / np.array([200] * 4 + [40] * 3).reshape(7, 1, 1, 1),
    "bias": np.array([16.0, 16, 12, 12, 0, 0, 0]),
    "m": rng.standard_normal((4, 16, 1, 1)),
    "cells": np.array([0, 7, -1]),
    "parts": np.array([4, 3]),
}  # fmt: skip


def network(task: str) -> rp.Model:
    body = HEADS[task]
    used = {name: value for name, value in WEIGHTS.items() if name in body}
    return rp.Model(
        text_graphs.model((HEAD if task == "detection" else MAPS) + "{" + body + "}", **used)
    )


def changed(model: rp.Model, by: float) -> rp.Model:
    """The same model with noise on its first weight."""
    proto = type(model.proto)()
    proto.CopyFrom(model.proto)
    tensor = next(t for t in proto.graph.initializer if t.name == "w")
    w = numpy_helper.to_array(tensor)
    noise = np.random.default_rng(0).standard_normal(w.shape).astype(np.float32)
    tensor.CopyFrom(numpy_helper.from_array(w + by * noise, "w"))
    return rp.Model(proto)


def settings(task: str) -> Settings:
    return Settings(macs_reduction=0.2, task=task)


HELD = Images("the images", tuple({"x": IMAGES[k : k + 8]} for k in (0, 8)), 16)


@pytest.mark.parametrize("task", TASKS)
def test_a_model_agrees_with_itself_and_less_the_more_it_is_changed(task):
    model = network(task)
    points = [score(changed(model, by), model, HELD, settings(task)) for by in (0.0, 0.05, 0.5)]
    assert points[0] == pytest.approx(100, abs=0.5)
    assert points[0] > points[1] > points[2]
    assert title(HELD, settings(task)) != "accuracy"


def test_the_points_are_those_of_evaluate(tmp_path):
    """On the same images given as files and as arrays; nearness is 100 less the distance."""
    np.savez(tmp_path / "x.npz", x=IMAGES[:16])
    for task, key in (("semantic-segmentation", "agreement_mean_iou"), ("regression", "")):
        model = network(task)
        other = changed(model, 0.1)
        seen = rp.evaluate_task(other, f"{tmp_path}/x.npz:x,", task, model).scores
        wanted = seen[key] if key else 100 * (1 - seen["agreement_relative_error"])
        assert score(other, model, HELD, settings(task)) == pytest.approx(wanted, abs=1e-3)
        assert 20 < wanted < 99


@COCO
def test_detections_agree_as_on_files(call, tmp_path):
    pixels = (255 * IMAGES[:6].transpose(0, 2, 3, 1)).round().astype(np.uint8)
    for k, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{k}.png")
    model = network("detection")
    other = changed(model, 0.5)
    for name, each in (("a", model), ("b", other)):
        rp.save(each, tmp_path / f"{name}.onnx")
    args = ("--task", "detection", "--data", tmp_path, "--preprocess", "scale=0.00392156862745098")
    against = ("evaluate", tmp_path / "b.onnx", "--against", tmp_path / "a.onnx", "--json", "-")
    by_files = json.loads(call(*against, *args).out)["box"]["AP"]
    fed = {"x": pixels.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)}
    held = Images("the images", (fed,), 6)
    seen = measured_on(other, model, held, settings("detection"))
    assert seen["agreement_AP"] == pytest.approx(by_files, abs=1e-3)
    assert 20 < by_files < 99
    blind = replace(held, batches=({"x": fed["x"] * 0},))
    with pytest.raises(DataError, match="the original detects nothing"):
        dark = network("detection")
        tensor = next(t for t in dark.proto.graph.initializer if t.name == "bias")
        low = np.array([16, 16, 12, 12, -9, -9, -9], np.float32)
        tensor.CopyFrom(numpy_helper.from_array(low, "bias"))
        score(dark, dark, blind, settings("detection"))


@pytest.mark.parametrize("task", TASKS)
def test_the_smallest_model_within_a_drop(task):
    model = network(task)
    most = 10 if task == "detection" else 40
    how = Settings(max_drop=most, task=task, calibration=IMAGES, recover="none", verify=False)
    report = rp.prune(model, how).report
    drop = report["drop"]
    assert drop["before"] == pytest.approx(100, abs=0.5)
    assert drop["before"] - most <= drop["after"] < 99.5
    assert report["achieved"]["macs_reduction"] > 0.01
    assert drop["measure"] in ("AP against the original", "mean IoU with the original",
                               "nearness to the original")  # fmt: skip


@pytest.mark.parametrize("task", TASKS)
def test_a_search_takes_the_attempt_that_agrees_most_by_its_task(task, monkeypatch):
    points = []

    def recorded(*args):
        points.append(score_of(*args))
        return points[-1]

    monkeypatch.setattr(by_attempts, "score_of", recorded)
    how = Settings(macs_reduction=0.5, task=task, calibration=IMAGES, search=3.0, verify=False)
    report = rp.prune(network(task), how).report
    row = report["search"]
    assert row["attempts"] == len(points) >= 1
    assert row["error_first"] == pytest.approx(1 - points[0] / 100)
    assert row["error"] == pytest.approx(1 - max(points) / 100)
    assert row["measure"] in ("AP against the original", "mean IoU with the original",
                              "nearness to the original")  # fmt: skip
    said = next(note for note in report["notes"] if "attempts were made" in note)
    assert f"{row['measure']} on {row['images']} images" in said
    assert f"{points[0]:.1f} after the first, {max(points):.1f} after the best" in said


@COCO
def test_another_task_than_the_models_is_refused():
    how = settings("detection")
    with pytest.raises(ModelError, match="neither boxes"):
        score(network("regression"), network("regression"), HELD, how)
    with pytest.raises(ModelError, match="what the model gives on the images cannot be compared"):
        zero = changed(network("regression"), 0)
        tensor = next(t for t in zero.proto.graph.initializer if t.name == "m")
        tensor.CopyFrom(numpy_helper.from_array(np.zeros((4, 16, 1, 1), np.float32), "m"))
        score(zero, zero, HELD, settings("regression"))


@COCO
def test_a_sweep_measures_what_the_task_has(tmp_path):
    how = Settings(
        macs_reduction=0.2, task="detection", calibration=IMAGES[:48], recover="none", method="l2"
    )
    rows = sweep(network("detection"), tmp_path, how, {"macs_reduction": [0.1, 0.5]})
    assert [row.get("error") for row in rows] == [None, None]
    assert measure_of(rows) == "agreement_AP"
    assert rows[0]["agreement_AP"] > rows[1]["agreement_AP"]
    assert best(rows) == [True, True]  # one is smaller, the other better


@COCO
def test_a_sweep_measures_ap_on_objects(tmp_path):
    """On a file of COCO; the largest of its figures is that of `evaluate`."""
    model = network("detection")
    boxes = [[8, 8, 14, 12], [10, 12, 12, 12]]
    content = {
        "images": [{"id": k, "file_name": f"{k}.png"} for k in (0, 1)],
        "annotations": [
            {"id": k + 1, "image_id": k, "category_id": 1 + k, "bbox": box, "iscrowd": 0,
             "area": box[2] * box[3]} for k, box in enumerate(boxes)
        ],
        "categories": [{"id": k} for k in (1, 2, 3)],
    }  # fmt: skip
    for k in (0, 1):
        pixels = (255 * IMAGES[k].transpose(1, 2, 0)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{k}.png")
    (tmp_path / "objects.json").write_text(json.dumps(content))
    how = Settings(macs_reduction=0.2, task="detection", recover="none", method="l2")
    options = SweepOptions(data=str(tmp_path))
    (row,) = sweep(model, tmp_path / "out", how, {"macs_reduction": [0.1]}, options)
    assert row["n"] == 2 and 0 < row["AP50"] <= 100
    assert measure_of([row]) == "AP"
    (row,) = sweep(model, tmp_path / "b", how, {"macs_reduction": [0.1]}, SweepOptions(data=IMAGES))
    words = "--task detection measures on objects in files; give their path as --data"
    assert words in row["error"]


@pytest.mark.parametrize(("key", "marked"), [("AP", [False, True]), ("rmse", [True, True])])
def test_of_errors_less_is_better(key, marked):
    rows = [
        {"achieved": {"macs_reduction": share}, key: value} for share, value in ((0.1, 3), (0.5, 4))
    ]
    assert best(rows) == marked
