"""Objects of Ultralytics' and Pascal VOC's datasets: what is read, and every refusal."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reprune_onnx.data.class_names import ClassNames
from reprune_onnx.data.objects import has_outlines, images_alone, open_objects
from reprune_onnx.errors import DataError

pytest.importorskip("yaml", reason="a data.yaml needs PyYAML")
YAML = "path: .\ntrain: images/train\nval: images/val\nnames: {0: cat, 1: dog}\n"
BOX = "1 0.5 0.5 0.5 0.25"


def image(path: Path, w: int, h: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (w, h)).save(path)


def yolo(root: Path, lines: dict[str, str | None], config: str = YAML) -> Path:
    """A dataset whose images have different sizes; None is an image without a label file."""
    for k, (name, text) in enumerate(lines.items()):
        image(root / "images/val" / f"{name}.png", 40 + 10 * k, 20)
        if text is not None:
            place = root / "labels/val" / f"{name}.txt"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
    (root / "data.yaml").write_text(config)
    return root / "data.yaml"


def voc(root: Path, objects: dict[str, str], names: str = "cat") -> Path:
    for name, inner in objects.items():
        image(root / "JPEGImages" / f"{name}.jpg", 40, 20)
        (root / "Annotations").mkdir(exist_ok=True)
        (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{inner}</annotation>")
    return root


def voc_object(name: str, *edges: object, more: str = "") -> str:
    each = zip(("xmin", "ymin", "xmax", "ymax"), edges, strict=True)
    box = "".join(f"<{e}>{v}</{e}>" for e, v in each)
    return f"<object><name>{name}</name>{more}<bndbox>{box}</bndbox></object>"


def refused(path: Path, *words: str, names: ClassNames | None = None) -> None:
    with pytest.raises(DataError) as error:
        open_objects(path, names=names)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value), str(error.value)


def boxes(data) -> list[list[float]]:
    return [a["bbox"] for a in data.content["annotations"]]


# ── Ultralytics ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("by_folder", [False, True])
def test_boxes_are_shares_of_each_image(tmp_path, by_folder):
    config = yolo(tmp_path, {"a": f"{BOX}\n0 0.25 0.5 0.5 1\n", "b": f"{BOX}\n\n{BOX}\n", "c": ""})
    data = open_objects(tmp_path if by_folder else config)
    assert boxes(data) == [[10, 7.5, 20, 5], [0, 0, 20, 20], [12.5, 7.5, 25, 5]]
    assert [a["area"] for a in data.content["annotations"]] == [100, 400, 125]
    assert [a["category_id"] for a in data.content["annotations"]] == [1, 0, 1]
    assert [a["image_id"] for a in data.content["annotations"]] == [0, 0, 1]  # a line counts once
    assert len(data.files) == 3  # an empty file is an image without objects
    assert data.class_names == {"cat": 0, "dog": 1}
    assert not data.has_masks
    assert data.notes == ()


def test_what_sticks_out_of_the_image_is_cut_off(tmp_path):
    data = open_objects(yolo(tmp_path, {"a": "0 0.1 0.5 0.4 1\n0 1.004 0.5 0.5 0.5"}))
    np.testing.assert_allclose(boxes(data), [[0, 0, 12, 20], [30, 5, 10, 10]])


def test_outlines_and_keypoints(tmp_path):
    data = open_objects(yolo(tmp_path, {"a": "0 0.25 0.5 0.75 0.5 0.75 1"}))  # a triangle
    (entry,) = data.content["annotations"]
    assert entry["segmentation"] == [[10, 10, 30, 10, 30, 20]]
    assert entry["bbox"] == [10, 10, 20, 10]
    assert entry["area"] == 100
    assert data.has_masks
    assert has_outlines(tmp_path)
    pose = YAML + "kpt_shape: [2, 3]\n"
    data = open_objects(yolo(tmp_path / "p", {"a": f"{BOX} 0.5 0.5 2 0 0 0"}, pose))
    (entry,) = data.content["annotations"]
    assert entry["keypoints"] == [20, 10, 2, 0, 0, 0]
    assert entry["num_keypoints"] == 1
    assert entry["bbox"] == [10, 7.5, 20, 5]


@pytest.mark.parametrize(
    ("val", "at"),
    [
        ("images/val", ""),
        ("[images/val]", ""),
        ("../images/val", ""),  # as Roboflow writes
        ("list.txt", ""),
        ("images/val", "path: /nowhere/at/all"),  # made on another machine
    ],
)
def test_where_images_lie(tmp_path, val, at):
    (tmp_path / "list.txt").write_text("./images/val/a.png\n\nimages/val/b.png\n")
    config = yolo(tmp_path, {"a": BOX, "b": ""}, f"{at}\nval: {val}\nnames: [cat, dog]\n")
    data = open_objects(config)
    assert [f.path.name for f in data.files.values()] == ["a.png", "b.png"]
    assert len(boxes(data)) == 1
    assert images_alone(config).size == 2


def test_labels_beside_images_and_images_without(tmp_path):
    for name in ("a", "b", "c"):
        image(tmp_path / "set" / f"{name}.png", 40, 20)
    (tmp_path / "set" / "b.txt").write_text(BOX)
    (tmp_path / "data.yml").write_text("val: set\nnames: [cat, dog]")
    data = open_objects(tmp_path)
    assert boxes(data) == [[10, 7.5, 20, 5]]
    (note,) = data.notes
    assert "2 images have no label file" in note
    assert "taken as images without objects" in note


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("2 0.5 0.5 0.1 0.1", ("line 2: class 2", "names 2 classes, 0 to 1", "belong to it")),
        ("-1 0.5 0.5 0.1 0.1", ("class -1",)),
        ("0.5 0.5 0.5 0.1 0.1", ("class 0.5",)),
        ("0 20 10 5 5", ("20 lies outside of the image", "shares of its width and height")),
        ("0 0.5 0.5 0.1 -0.1", ("-0.1 lies outside",)),
        ("0 nan 0.5 0.1 0.1", ("nan lies outside",)),
        ("0 0.5 0.5 0.1", ("4 columns: give a class and x y w h",)),
        ("0 0.5 0.5 0.1 0.1 0.9", ("6 columns",)),
        ("cat 0.5 0.5 0.1 0.1", ("'cat 0.5 0.5 0.1 0.1' is not made of numbers",)),
    ],
)
def test_lines_that_are_refused(tmp_path, line, words):
    refused(yolo(tmp_path, {"a": f"{BOX}\n{line}"}), "label file '", "a.txt", *words)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("names: [a", ("cannot be read",)),
        ("- 1", ("has no names",)),
        ("names: 3", ("has no names",)),
        ("names: {1: a, 2: b}\nval: images/val", ("numbers of 2 classes are not 0 to n - 1",)),
        ("names: []\nval: images/val", ("names no classes",)),
        ("names: [a]", ("neither val nor test nor train",)),
        ("names: [a]\nval: lost", ("val is 'lost', which is not there",)),
        ("names: [a]\nval: labels", ("there are no images in val",)),
        ("names: [a]\nval: list.txt", ("lists 'lost.png'", "check its path")),
        (
            "names: [a]\nval: images/val\nkpt_shape: 17",
            ("kpt_shape is 17", "give [keypoints, 2] or [keypoints, 3]"),
        ),
    ],
)
def test_configurations_that_are_refused(tmp_path, config, words):
    (tmp_path / "list.txt").write_text("lost.png")
    refused(yolo(tmp_path, {"a": ""}, config), "data.yaml" if "lost.png" not in words[0] else "",
            *words)  # fmt: skip


def test_other_files_that_cannot_be_read(tmp_path, monkeypatch):
    config = yolo(tmp_path, {"a": ""})
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "yaml", None)
        refused(config, "needs PyYAML to be read: pip install 'reprune-onnx[coco]'")
    (tmp_path / "labels/val/a.txt").write_bytes(b"\xff\xfe\x00")
    refused(config, "a.txt", "it is no text in UTF-8")
    refused(tmp_path / "lost.yaml", "No such file")
    refused(yolo(tmp_path / "none", {"a": None, "b": None}), "none of the 2 images has a label")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "neither a .json of COCO nor a data.yaml", "Pascal VOC")


# ── Pascal VOC ──────────────────────────────────────────────────────────────────────────────


def test_pixels_of_voc_are_counted_from_1(tmp_path):
    easy = voc_object("person", 1, 1, 40, 20)
    hard = voc_object("cat", 11.0, 6, 50, 15, more="<difficult>1</difficult>")
    data = open_objects(voc(tmp_path, {"a": easy + hard, "b": ""}))
    assert boxes(data) == [[0, 0, 40, 20], [10, 5, 30, 10]]  # what sticks out is cut off
    first, second = data.content["annotations"]
    assert (first["category_id"], second["category_id"]) == (15, 8)  # of VOC's twenty
    assert not first["difficult"]
    assert second["difficult"]
    assert len(data.files) == 2
    assert not has_outlines(tmp_path)


def test_a_list_says_which_images_and_the_devkit_lies_deeper(tmp_path):
    root = voc(tmp_path / "VOCdevkit" / "VOC2007", {k: voc_object("cat", 1, 1, 4, 4) for k in "ab"})
    (root / "ImageSets" / "Main").mkdir(parents=True)
    (root / "ImageSets" / "Main" / "val.txt").write_text("b\n")
    data = open_objects(tmp_path / "VOCdevkit")
    assert [f.path.name for f in data.files.values()] == ["b.jpg"]
    (root / "ImageSets" / "Main" / "test.txt").write_text("lost 1\n")
    refused(root, "lists 'lost'", "has no such image")


def test_classes_are_the_models_or_sorted(tmp_path):
    for name, what in (("a", "owl"), ("b", "cat")):
        image(tmp_path / f"{name}.png", 40, 20)  # side by side, as annotation tools write
        (tmp_path / f"{name}.xml").write_text(f"<a>{voc_object(what, 1, 1, 4, 4)}</a>")
    image(tmp_path / "c.png", 40, 20)
    data = open_objects(tmp_path)
    assert data.class_names == {"cat": 1, "owl": 2}
    assert "1 image has no label file" in data.notes[0]
    assert "sorted order, 0 is 'cat' and 1 is 'owl'" in data.notes[1]
    names = ClassNames(("owl", "bat", "cat"), "the file", asked=True)
    assert open_objects(tmp_path, names=names).class_names == {"owl": 1, "bat": 2, "cat": 3}
    other = ClassNames(("cat", "dog"), "the file", asked=True)
    refused(tmp_path, "object 'owl'", "2 classes of the file", "--classes FILE", names=other)


@pytest.mark.parametrize(
    ("inner", "words"),
    [
        (voc_object("cat", 41, 1, 50, 10), "41, 1, 50, 10 of object 'cat' does not lie on"),
        (voc_object("cat", 9, 1, 3, 10), "does not lie on the image of 40×20"),
        (voc_object("cat", "nan", 1, 3, 10), "does not lie on"),
        (voc_object("cat", "", 1, 3, 10), "does not lie on"),
        (voc_object("cat", "x", 1, 3, 10), "cannot be read"),
        (voc_object("", 1, 1, 3, 10), "an object has no name"),
        ("<object><name>cat</name></object>", "has no bndbox with xmin"),
        ("<object>", "cannot be read"),
    ],
)
def test_annotations_that_are_refused(tmp_path, inner, words):
    refused(voc(tmp_path, {"a": inner}), "a.xml", words)


def test_voc_without_images(tmp_path):
    voc(tmp_path, {"a": ""})
    (tmp_path / "JPEGImages" / "a.jpg").unlink()
    refused(tmp_path, "but no images: add JPEGImages/")


def test_annotations_of_coco_come_first(tmp_path):
    yolo(tmp_path, {"a": BOX})
    image(tmp_path / "a.png", 4, 4)
    content = {"images": [{"id": 3, "file_name": "a.png"}], "annotations": [], "categories": []}
    (tmp_path / "o.json").write_text(json.dumps(content))
    assert list(open_objects(tmp_path).files) == [3]
