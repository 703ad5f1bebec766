"""`evaluate --task detection|segmentation` beside pycocotools called directly."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

H, W, IMAGES, D = 96, 128, 8, 14
CATEGORIES = (1, 3, 7)
NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl")
ROLES = ("boxes", "labels", "scores", "masks")


def box_mask(box: np.ndarray) -> np.ndarray:
    """An ellipse in a box x1, y1, x2, y2, as (H, W)."""
    y, x = np.mgrid[:H, :W] + 0.5
    x1, y1, x2, y2 = box
    across, along = (x - (x1 + x2) / 2) / (x2 - x1), (y - (y1 + y2) / 2) / (y2 - y1)
    return across**2 + along**2 <= 0.25


def objects(rng: np.random.Generator) -> list[tuple[np.ndarray, int, bool]]:
    """Boxes of all sizes with their categories; one of them is a crowd."""
    collected = []
    for k in range(6):
        side = rng.uniform(12, 30) if k < 3 else rng.uniform(35, 60)
        side = 98 if k == 5 else side
        w, h = min(side * 1.1, W - 4), min(side, H - 4)
        x, y = rng.uniform(1, W - w - 1), rng.uniform(1, H - h - 1)
        collected.append((np.array([x, y, x + w, y + h]), int(rng.choice(CATEGORIES)), k == 4))
    return collected


def scene(seed: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """COCO's annotations, and what a mediocre detector says: tables (IMAGES, D, …)."""
    from pycocotools import mask as coco_mask

    rng = np.random.default_rng(seed)
    annotations: list[dict[str, Any]] = []
    tables = {
        "boxes": np.zeros((IMAGES, D, 4), np.float32),
        "labels": np.zeros((IMAGES, D), np.int64),
        "scores": np.zeros((IMAGES, D), np.float32),
        "masks": np.zeros((IMAGES, D, 1, H, W), np.float32),
    }
    for image in range(IMAGES):
        truth = objects(rng)
        for box, category, crowd in truth:
            outline = coco_mask.encode(np.asfortranarray(box_mask(box), np.uint8))
            counts = outline["counts"].decode()
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image + 1,
                    "category_id": category,
                    "bbox": [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()],
                    "area": float(np.prod(box[2:] - box[:2])),
                    "iscrowd": int(crowd),
                    "segmentation": {"size": [H, W], "counts": counts},
                }
            )
        for k in range(D):  # hits, some twice, misses, wrong categories
            box, category, _ = truth[int(rng.integers(0, 5)) if k % 2 else k % 6]
            spread = 0.04 if rng.random() < 0.75 else 0.6
            moved = box + rng.normal(0, spread * (box[2] - box[0]), 4)
            moved[2:] = np.maximum(moved[2:], moved[:2] + 4)
            label = category if rng.random() < 0.85 else int(rng.choice(CATEGORIES))
            tables["boxes"][image, k] = moved
            tables["labels"][image, k] = label
            tables["scores"][image, k] = rng.uniform(0.2, 0.99)
            tables["masks"][image, k, 0] = np.where(box_mask(moved), 0.9, 0.2)
    images = [
        {"id": i + 1, "file_name": f"{i}.png", "height": H, "width": W} for i in range(IMAGES)
    ]
    categories = [{"id": c, "name": f"thing {c}"} for c in CATEGORIES]
    return {"images": images, "annotations": annotations, "categories": categories}, tables


def detector(tables: dict[str, np.ndarray], roles: tuple[str, ...] = ROLES) -> onnx.ModelProto:
    """A model that reads an image's number from its first pixel and looks up what it says."""
    nodes = [
        helper.make_node("Slice", ["image", "zeros", "ones", "axes"], ["pixel"]),
        helper.make_node("Mul", ["pixel", "scale"], ["number"]),
        helper.make_node("Round", ["number"], ["whole"]),
        helper.make_node("Cast", ["whole"], ["index"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["index", "scalar"], ["place"]),
        *(helper.make_node("Gather", [f"{role}_table", "place"], [role]) for role in roles),
    ]
    constants = {
        "zeros": np.zeros(3, np.int64),
        "ones": np.ones(3, np.int64),
        "axes": np.arange(3),
        "scale": np.float32(255),
        "scalar": np.zeros(0, np.int64),
        **{f"{role}_table": tables[role] for role in roles},
    }
    outputs = [
        helper.make_tensor_value_info(
            role, helper.np_dtype_to_tensor_dtype(tables[role].dtype), tables[role].shape[1:]
        )
        for role in roles
    ]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [3, "h", "w"])],
        outputs,
        [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def directly(content: dict[str, Any], tables: dict[str, np.ndarray], iou: str) -> np.ndarray:
    """The six figures, by pycocotools and nothing else."""
    from pycocotools import mask as coco_mask
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    entries = []
    for image in range(IMAGES):
        for k in range(D):
            x1, y1, x2, y2 = tables["boxes"][image, k].astype(np.float64).tolist()
            entry = {"image_id": image + 1, "category_id": int(tables["labels"][image, k])}
            entry["score"] = float(tables["scores"][image, k])
            if iou == "bbox":
                entry["bbox"] = [x1, y1, x2 - x1, y2 - y1]
            else:
                mask = np.asfortranarray(tables["masks"][image, k, 0] >= 0.5, np.uint8)
                entry["segmentation"] = coco_mask.encode(mask)
            entries.append(entry)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = json.loads(json.dumps(content))
        truth.createIndex()
        judge = COCOeval(truth, truth.loadRes(entries), iou)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return 100 * judge.stats[:6]


@pytest.fixture
def case(tmp_path: Path) -> tuple[Path, Path, dict[str, Any], dict[str, np.ndarray]]:
    """A folder of images with annotations, the model, and what both hold."""
    pytest.importorskip("pycocotools", reason="average precision needs pycocotools")
    folder = tmp_path / "images"
    folder.mkdir()
    content, tables = scene(3)
    for i in range(IMAGES):
        Image.fromarray(np.full((H, W, 3), i, np.uint8)).save(folder / f"{i}.png")
    (folder / "instances.json").write_text(json.dumps(content))
    onnx.save(detector(tables), tmp_path / "detector.onnx")
    return tmp_path / "detector.onnx", folder, content, tables


def test_the_figures_are_those_of_pycocotools(call, case):
    model, folder, content, tables = case
    args = ("evaluate", model, "--data", folder, "--task", "segmentation", "--json", "-")
    result = call(*args)
    assert result.code == 0, result.err
    printed = json.loads(result.out)
    assert printed["n"] == IMAGES
    for kind, iou in (("box", "bbox"), ("mask", "segm")):
        expected = directly(content, tables, iou)
        assert 20 < expected[0] < 80  # neither everything nor nothing is found
        assert (expected >= 0).all()  # objects of every size are there
        assert list(printed[kind]) == list(NAMES)
        np.testing.assert_allclose(list(printed[kind].values()), expected, atol=1e-9)
    boxes = call("evaluate", model, "--data", folder, "--task", "detection", "--json", "-")
    assert json.loads(boxes.out) == {"n": IMAGES, "box": printed["box"]}
    table = call(*args[:-2])
    assert table.code == 0
    assert f"{printed['mask']['AP50']:.1f}" in table.out


def test_labels_may_be_the_order_of_the_categories(call, case, tmp_path):
    model, folder, _, tables = case
    by_id = call("evaluate", model, "--data", folder, "--task", "detection", "--json", "-")
    order = np.searchsorted(CATEGORIES, tables["labels"]) + 1
    onnx.save(detector({**tables, "labels": order}, ROLES[:3]), model)
    args = ("evaluate", model, "--data", folder, "--task", "detection", "--json", "-")
    assert call(*args, "--labels", "order").out == by_id.out


def test_raw_outputs_are_decoded_and_their_classes_are_counted_from_0(call, case):
    model, folder, _, tables = case
    args = ("evaluate", model, "--data", folder, "--task", "detection", "--json", "-")
    by_id = call(*args)
    onnx.save(raw(tables), model)
    assert call(*args).out == call(*args, "--decode", "end-to-end").out == by_id.out
    other = call(*args, "--decode", "yolox")
    assert other.code == 1 and "--decode yolox does not fit" in other.err


def in_yolo(content: dict[str, Any], root: Path, names: dict[int, str]) -> Path:
    """COCO's annotations as Ultralytics has them, beside the same images."""
    (root / "labels").mkdir(parents=True)
    lines: dict[int, list[str]] = {i["id"]: [] for i in content["images"]}
    for entry in content["annotations"]:
        x, y, w, h = np.array(entry["bbox"]) / [W, H, W, H]
        label = CATEGORIES.index(entry["category_id"])
        lines[entry["image_id"]].append(f"{label} {x + w / 2} {y + h / 2} {w} {h}")
    for image, rows in lines.items():
        (root / "labels" / f"{image - 1}.txt").write_text("\n".join(rows))
    (root / "data.yaml").write_text(f"names: {json.dumps(names)}\nval: images\n")
    return root / "data.yaml"


def raw(tables: dict[str, np.ndarray], classes: dict[int, str] | None = None) -> onnx.ModelProto:
    """The detector as one with its suppression inside, (n, 6), and the names of its classes."""
    order = np.searchsorted(CATEGORIES, tables["labels"]).astype(np.float32)
    rows = [tables["boxes"], tables["scores"][..., None], order[..., None]]
    proto = detector({"output0": np.concatenate(rows, axis=2)}, ("output0",))
    if classes is not None:
        proto.metadata_props.add(key="names", value=str(classes))
    return proto


def test_label_files_and_xml_give_the_same_figures(call, case, tmp_path):
    """As the same objects as a .json of COCO; names tell classes whatever their numbers."""
    model, folder, content, tables = case
    pytest.importorskip("yaml", reason="a data.yaml needs PyYAML")
    single = [{**entry, "iscrowd": 0} for entry in content["annotations"]]
    (folder / "instances.json").write_text(json.dumps({**content, "annotations": single}))
    args = ("--task", "detection", "--json", "-")
    by_coco = json.loads(call("evaluate", model, "--data", folder, *args).out)["box"]
    names = {0: "one", 1: "three", 2: "seven"}
    config = in_yolo(content, tmp_path, names)
    onnx.save(raw(tables), model)
    by_number = json.loads(call("evaluate", model, "--data", config, *args).out)
    assert by_number == {"n": IMAGES, "box": pytest.approx(by_coco, abs=1e-6)}
    onnx.save(raw(tables, names), model)
    turned = {0: "seven", 1: "one", 2: "three"}  # the same files, whose numbers mean other classes
    config.write_text(f"names: {json.dumps(turned)}\nval: images\n")
    other = json.loads(call("evaluate", model, "--data", config, *args).out)["box"]
    assert other["AP"] < by_coco["AP"] - 10
    config.write_text(f"names: {json.dumps(names)}\nval: images\n")
    onnx.save(raw(tables, {0: "one", 1: "three", 2: "seven", 3: "zebra"}), model)
    more = json.loads(call("evaluate", model, "--data", config, *args).out)["box"]
    assert more == pytest.approx(by_coco, abs=1e-6)  # a class that the data does not have
    onnx.save(raw(tables, {0: "cat", 1: "dog"}), model)
    foreign = call("evaluate", model, "--data", config, *args)
    assert foreign.code == 1 and "category 'one'" in foreign.err and "--classes" in foreign.err
    (tmp_path / "classes.txt").write_text("one\nthree\nseven\n")
    asked = call("evaluate", model, "--data", config, "--classes", tmp_path / "classes.txt", *args)
    assert json.loads(asked.out)["box"] == pytest.approx(by_coco, abs=1e-6)
    onnx.save(raw(tables, names), model)
    (tmp_path / "images" / "9.png").write_bytes(b"no image")
    (tmp_path / "labels" / "9.txt").write_text("0 0.5 0.5 0.5 0.5")
    broken = call("evaluate", model, "--data", config, *args)
    assert broken.code == 1 and "9.png cannot be read as an image" in broken.err
    args = ("--skip-broken", *args)
    left = json.loads(call("evaluate", model, "--data", config, *args).out)
    assert left["box"] == pytest.approx(by_coco, abs=1e-6)
    assert "1 image is broken and left out" in left["notes"][0]
    against = call("evaluate", model, "--data", config, "--against", model, *args)
    assert json.loads(against.out)["box"]["AP"] == pytest.approx(100, abs=0.5)


def test_objects_that_are_difficult_count_neither_way(call, case):
    """Objects that are missing make a false alarm of what hits them; difficult ones do not."""
    model, folder, content, _ = case
    hard = {entry["id"] for entry in content["annotations"] if entry["id"] % 3 == 0}
    marked = [{**e, "iscrowd": 0, "difficult": e["id"] in hard} for e in content["annotations"]]
    args = ("evaluate", model, "--data", folder, "--task", "detection", "--json", "-")

    def figures(entries: list[dict[str, Any]]) -> dict[str, float]:
        text = json.dumps({**content, "annotations": entries})
        (folder / "instances.json").write_text(text)
        return json.loads(call(*args).out)["box"]

    ignored = figures(marked)
    counted = figures([{**e, "difficult": False} for e in marked])
    missing = figures([e for e in marked if not e["difficult"]])
    assert ignored["AP50"] > missing["AP50"] + 1  # what hits them is no false alarm
    assert ignored["AP50"] != pytest.approx(counted["AP50"], abs=0.1)


def test_the_original_is_the_truth_where_there_are_no_labels(call, case, tmp_path):
    """The same figures as with its sure detections as annotations; itself agrees with itself."""
    model, folder, content, tables = case
    (folder / "instances.json").unlink()
    rng = np.random.default_rng(1)
    moved = tables["boxes"] + rng.normal(0, 3, tables["boxes"].shape).astype(np.float32)
    onnx.save(detector({**tables, "boxes": moved}, ROLES[:3]), tmp_path / "pruned.onnx")
    args = ("--data", folder, "--task", "detection", "--json", "-")
    result = call("evaluate", tmp_path / "pruned.onnx", "--against", model, *args)
    truth = [
        {
            "id": 1 + image * D + k,
            "image_id": image + 1,
            "category_id": int(tables["labels"][image, k]),
            "bbox": [*box[:2], *(np.array(box[2:]) - box[:2])],
            "area": float((box[2] - box[0]) * (box[3] - box[1])),
            "iscrowd": 0,
        }
        for image in range(IMAGES)
        for k in range(D)
        if tables["scores"][image, k] >= 0.25
        for box in [tables["boxes"][image, k].astype(np.float64).tolist()]
    ]
    wanted = directly({**content, "annotations": truth}, {**tables, "boxes": moved}, "bbox")
    printed = json.loads(result.out)
    assert 20 < wanted[0] < 95 and len(truth) < IMAGES * D
    assert list(printed["box"].values()) == [
        pytest.approx(value, abs=1e-9) if value >= 0 else None for value in wanted
    ]
    assert printed["n"] == IMAGES and printed["against"] == str(model)
    itself = json.loads(call("evaluate", model, "--against", model, *args).out)["box"]
    assert itself["AP"] == pytest.approx(100, abs=0.5)
    table = call("evaluate", tmp_path / "pruned.onnx", "--against", model, *args[:-2])
    assert "what the original detects with a score of 0.25 or more" in table.out
    blind = {**tables, "scores": tables["scores"] / 9}
    onnx.save(detector(blind, ROLES[:3]), tmp_path / "blind.onnx")
    nothing = call("evaluate", model, "--against", tmp_path / "blind.onnx", *args)
    assert nothing.code == 1 and "detects nothing with a score of 0.25" in nothing.err


def test_boxes_follow_an_image_that_is_resized(call, case, tmp_path):
    model, folder, _, tables = case
    full_size = call("evaluate", model, "--data", folder, "--task", "detection", "--json", "-")
    half = {**tables, "boxes": tables["boxes"] / 2}
    onnx.save(detector(half, ROLES[:3]), model)
    args = ("evaluate", model, "--data", folder, "--task", "detection", "--json", "-")
    again = json.loads(call(*args, "--preprocess", f"size={H // 2},{W // 2}").out)
    assert again["box"] == pytest.approx(json.loads(full_size.out)["box"], abs=1e-6)


def test_what_does_not_go_together_is_one_line(refuses, case, tmp_path, monkeypatch):
    model, folder, content, tables = case
    detect = ("evaluate", model, "--data", folder, "--task", "detection")
    refuses(*detect, "--annotations", tmp_path / "no.json", says=("there is no annotation file",))
    broken = folder / "instances.json"
    more = [*content["images"], {"id": 99, "file_name": "lost.png"}]
    broken.write_text(json.dumps({**content, "images": more}))
    refuses(*detect, says=("image 'lost.png'", "is not in"))
    broken.write_text(json.dumps({**content, "annotations": {}}))
    refuses(*detect, says=("is not in COCO's format",))
    odd = [{**content["annotations"][0], "segmentation": {"size": [1], "counts": 3}}]
    broken.write_text(json.dumps({**content, "annotations": odd}))
    refuses(*detect[:-1], "segmentation", says=("pycocotools cannot read the objects",))
    broken.unlink()
    refuses(*detect, says=("there is no annotation file",))
    broken.write_text(json.dumps(content))
    both = ("--against", model, "--annotations", broken)
    refuses(*detect, *both, code=2, says=("leave one of them out",))
    refuses(*detect[:-2], "--decode", "yolox", code=2, says=("give --task detection too",))
    refuses(*detect, "--preprocess", "imagenet", code=2, says=("would cut objects off",))
    onnx.save(detector({**tables, "labels": tables["labels"] + 50}), model)
    refuses(*detect, says=("label 5", "3 categories numbered 1 to 7"))
    onnx.save(detector(tables, ROLES[:2]), model)
    refuses(*detect, says=("neither boxes (d, 4), labels (d,) and scores (d,)",))
    onnx.save(detector(tables, ROLES[:3]), model)
    refuses(*detect[:-1], "segmentation", says=("the model has no masks, neither",))
    monkeypatch.setattr("reprune_onnx.runtime.average_precision.find_spec", lambda name: None)
    refuses(*detect, says=("pip install 'reprune-onnx[coco]'",))
