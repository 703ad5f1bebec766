"""Masks by prototypes and keypoints, the columns behind the classes of YOLO's raw outputs."""

from __future__ import annotations

import contextlib
import io
import json

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from PIL import Image

from reprune_onnx.data.geometry import Placement
from reprune_onnx.runtime.decoders.beside import keypoint_shape, prototype_masks, split

SIDES = (64, 96)
N = (8 * 12) + (4 * 6) + (2 * 3)
rng = np.random.default_rng(3)


@pytest.mark.parametrize(
    ("shape", "axis"), [((4 + 3 + 8, N), 0), ((3 * N, 5 + 3 + 8), 1), ((300, 6 + 8), 1)]
)
def test_columns_behind_the_classes_are_taken_off(shape, axis):
    whole, maps = rng.random(shape), rng.random((8, 16, 24))
    parts = split({"a": whole, "b": maps}, SIDES, None)
    rows = whole.T if axis == 0 else whole
    np.testing.assert_array_equal(parts.more, rows[:, -8:])
    left = parts.outputs["a"]
    np.testing.assert_array_equal(left.T if axis == 0 else left, rows[:, :-8])
    np.testing.assert_array_equal(parts.prototypes, maps)
    pose = split({"a": whole}, SIDES, (4, 2))
    np.testing.assert_array_equal(pose.more, rows[:, -8:])
    assert pose.prototypes is None


def test_outputs_without_such_columns_stay():
    outputs = {"a": rng.random((7, N))}
    assert split(outputs, SIDES, None).outputs is outputs
    assert split({"a": rng.random((7, N)), "b": rng.random((9, 4, 4))}, SIDES, None).more is None


@pytest.mark.parametrize(
    ("text", "shape"),
    [("[17, 3]", (17, 3)), ("(4, 2)", (4, 2)), ("", None), ("[17]", None), ("[0, 3]", None),
     ("17", None), ("['a', 3]", None), ("[17, 9]", None)],
)  # fmt: skip
def test_the_shape_of_keypoints_stands_in_the_metadata(text, shape):
    proto = onnx.ModelProto()
    proto.metadata_props.add(key="kpt_shape", value=text)
    assert keypoint_shape(proto) == shape


@pytest.mark.parametrize("at", [Placement(64, 96, 0, 0), Placement(64, 48, 0, 24)])
def test_a_mask_is_where_the_sum_of_prototypes_is_positive(at):
    """Planes stay planes when they are resized, so that the edge is known to the pixel."""
    size = (at.height * 2, at.width * 2)
    y, x = np.mgrid[:16, :24] * 4 + 2.0  # centres of the cells, in pixels of the input
    prototypes = np.stack([x - at.left, y - at.top, np.ones_like(x)])
    coefficients = np.array([[1.0, 0, -10.2], [0.5, 1, -30.3], [0, 0, -1]])
    boxes = np.array([[0, 0, 30, 60], [10.0, 8, 70, 100], [0, 0, 90, 90]])
    masks = prototype_masks(coefficients, prototypes, boxes, (at, SIDES, size))
    v, u = np.mgrid[: size[0], : size[1]]
    inside = (u / 2 > 3) & (v / 2 > 3) & (u / 2 < at.width - 3) & (v / 2 < at.height - 3)
    for mask, (a, b, c), box in zip(masks, coefficients, boxes, strict=True):
        plane = a * (u + 0.5) / 2 + b * (v + 0.5) / 2 + c > 0
        within = (u >= box[0]) & (u < box[2]) & (v >= box[1]) & (v < box[3])
        np.testing.assert_array_equal(mask[inside], (plane & within)[inside])
    assert masks[0].any() and not masks[2].any()


def lookup(tables: dict[str, np.ndarray], metadata: dict[str, str]) -> onnx.ModelProto:
    """A model that reads an image's number from its first pixel and looks up its raw outputs."""
    nodes = [
        helper.make_node("Slice", ["image", "zeros", "ones", "axes"], ["pixel"]),
        helper.make_node("Mul", ["pixel", "scale"], ["number"]),
        helper.make_node("Round", ["number"], ["whole"]),
        helper.make_node("Cast", ["whole"], ["index"], to=onnx.TensorProto.INT64),
        helper.make_node("Reshape", ["index", "one"], ["place"]),
        *(helper.make_node("Gather", [f"{name}_t", "place"], [name]) for name in tables),
    ]
    constants = {
        "zeros": np.zeros(4, np.int64),
        "ones": np.ones(4, np.int64),
        "axes": np.arange(4),
        "scale": np.float32(255),
        "one": np.ones(1, np.int64),
        **{f"{name}_t": table.astype(np.float32) for name, table in tables.items()},
    }
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "raw",
        [helper.make_tensor_value_info("image", kind, [1, 3, *SIDES])],
        [helper.make_tensor_value_info(n, kind, [1, *t.shape[1:]]) for n, t in tables.items()],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    return model


def people(folder) -> tuple[np.ndarray, dict]:
    """Rows (3 images, 4 + 1 + 12, N) of people with four keypoints, and what is true of them."""
    table = np.zeros((3, 4 + 1 + 12, N))
    annotations = []
    for image in range(3):
        Image.fromarray(np.full((*SIDES, 3), image, np.uint8)).save(folder / f"{image}.png")
        for k in range(4):
            x, y = 12 + 22 * k, 20 + 8 * image
            points = np.array([[x - 5, y - 5], [x + 5, y - 5], [x - 5, y + 5], [x + 5, y + 5.0]])
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image, "category_id": 1, "iscrowd": 0,
                 "bbox": [x - 9, y - 9, 18, 18], "area": 150.0, "num_keypoints": 4,
                 "keypoints": np.column_stack([points, np.full(4, 2)]).ravel().tolist()}
            )  # fmt: skip
            off = points + rng.normal(0, 0.7 * (k + 1), points.shape)
            seen = np.column_stack([off, np.full(4, 0.9)]).ravel()
            table[image, :, 7 * k] = [x, y, 18, 18, rng.uniform(0.3, 0.9), *seen]
    images = [{"id": k, "file_name": f"{k}.png"} for k in range(3)]
    return table, {"images": images, "annotations": annotations, "categories": [{"id": 1}]}


def test_keypoints_are_measured_as_pycocotools_does(call, tmp_path):
    pytest.importorskip("pycocotools", reason="average precision needs pycocotools")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    table, content = people(tmp_path)
    (tmp_path / "o.json").write_text(json.dumps(content))
    path = tmp_path / "pose.onnx"
    onnx.save(lookup({"output0": table}, {"kpt_shape": "[4, 3]"}), path)
    args = ("evaluate", path, "--data", tmp_path, "--task", "pose", "--json", "-")
    result = call(*args)
    assert result.code == 0, result.err
    entries = [
        {"image_id": image, "category_id": 1, "score": float(np.float32(table[image, 4, row])),
         "keypoints": table[image, 5:, row].astype(np.float32).tolist()}
        for image in range(3) for row in (0, 7, 14, 21)
    ]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = content
        truth.createIndex()
        judge = COCOeval(truth, truth.loadRes(entries), "keypoints")
        judge.params.kpt_oks_sigmas = np.full(4, 0.25)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    measured = json.loads(result.out)["keypoints"]
    assert 10 < measured["AP"] < 99
    assert [measured[k] for k in ("AP", "AP50", "AP75", "APm")] == pytest.approx(
        [100 * v if v >= 0 else None for v in judge.stats[:4]], abs=1e-6
    )
    itself = call(*args, "--against", path)
    assert json.loads(itself.out)["keypoints"]["AP"] == pytest.approx(100, abs=0.5)
    assert "keypoints" in call(*args[:-2]).out
    onnx.save(lookup({"output0": table}, {}), path)
    assert (
        "no keypoints that its metadata tells of (kpt_shape"
        in call(*args, "--decode", "yolov8").err
    )
    for entry in content["annotations"][:1]:
        entry["keypoints"], entry["num_keypoints"] = entry["keypoints"][:9], 3
    (tmp_path / "o.json").write_text(json.dumps(content))
    onnx.save(lookup({"output0": table}, {"kpt_shape": "[4, 3]"}), path)
    error = call(*args).err
    assert "has objects of 3 and of 4 keypoints" in error
    assert "give data in which all have as many" in error
    del content["annotations"][0]["keypoints"]
    (tmp_path / "o.json").write_text(json.dumps(content))
    assert "has objects without keypoints: use --task detection" in call(*args).err


def test_masks_of_prototypes_are_measured(call, tmp_path):
    """Rectangles by two prototypes, which cut the box off at the left and at the top."""
    pytest.importorskip("pycocotools", reason="average precision needs pycocotools")
    _, x = np.mgrid[:16, :24] * 4 + 2.0
    prototypes = np.stack([x, np.ones_like(x)])[None].repeat(2, axis=0)
    table = np.zeros((2, 4 + 1 + 2, N))
    annotations = []
    for image in range(2):
        Image.fromarray(np.full((*SIDES, 3), image, np.uint8)).save(tmp_path / f"{image}.png")
        for k in range(3):
            left, top = 6 + 30 * k, 10 + 20 * image
            table[image, :, 5 * k] = [left + 10, top + 10, 20, 20, 0.9 - 0.1 * k, 1, -(left + 8)]
            outline = [left + 8, top, left + 20, top, left + 20, top + 20, left + 8, top + 20]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image, "category_id": 1, "iscrowd": 0,
                 "bbox": [left, top, 20, 20], "area": 240.0, "segmentation": [outline]}
            )  # fmt: skip
    images = [{"id": k, "file_name": f"{k}.png", "height": 64, "width": 96} for k in range(2)]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1}]}
    (tmp_path / "o.json").write_text(json.dumps(content))
    path = tmp_path / "seg.onnx"
    onnx.save(lookup({"output0": table, "output1": prototypes}, {}), path)
    args = ("evaluate", path, "--data", tmp_path, "--task", "segmentation", "--json", "-")
    result = call(*args)
    assert result.code == 0, result.err
    printed = json.loads(result.out)
    assert printed["mask"]["AP75"] == pytest.approx(100)
    assert printed["mask"]["AP"] > 80
    table[:, 5:] = [[0], [1]]  # the whole box instead
    onnx.save(lookup({"output0": table, "output1": prototypes}, {}), path)
    assert json.loads(call(*args).out)["mask"]["AP75"] == pytest.approx(0)
    onnx.save(lookup({"output0": table[:, :5]}, {}), path)
    assert "nor YOLO's prototypes" in call(*args).err
