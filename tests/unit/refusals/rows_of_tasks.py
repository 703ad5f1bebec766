"""Labels of the tasks: classes by name, masks, tables of numbers, objects."""

import csv
import json
import tarfile
from importlib.util import find_spec

import numpy as np
from PIL import Image

HEAD = '<ir_version: 8, opset_import: ["": 17]> g (float[n,3,8,8] x) => '
MAP = HEAD + "(float[a,b,c,d] y) "
ROW = HEAD + "(float[a,b] y) "
SEGMENTS = "y = Conv <pads = [1, 1, 1, 1]> (x, w)"
POOLED = "a = Conv(x, w) b = GlobalAveragePool(a) y = Flatten(b)"
SHAPE = (3, 8, 8)


def segmented(p, data, *more):
    """A model of 8 classes and 8×8 pixels."""
    task = ("--task", "semantic-segmentation")
    return p("evaluate", p.graph(SEGMENTS, MAP), "--data", data, *task, *more)


def numbered(p, data, task="regression", *more):
    """A model of 8 numbers per image."""
    return p("evaluate", p.graph(POOLED, ROW), "--data", data, "--task", task, *more)


def answered(p, y, task="regression"):
    return numbered(p, p.npz(x=p.images(size=SHAPE), y=y), task)


def folder(p, *names, size=(8, 8), colour=0):
    """A folder with images of these paths."""
    for name in names:
        path = p.tmp / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = "L" if "masks" in name else "RGB"
        Image.new(mode, size, colour).save(path)
    return p.tmp / "data"


def beside(p, name, text):
    """The folder with two images and a table."""
    where = folder(p, "1.png", "2.png")
    (where / name).write_text(text, encoding="utf-8")
    return where


def packed(p):
    path = p.tmp / "data.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(folder(p, "1.png") / "1.png", "1.png")
    return path


def masked(p, image, mask):
    folder(p, "images/1.png", size=image)
    return folder(p, "masks/1.png", size=mask)


def masks(p, values, shape=(4, 8, 8), **images):
    return p.npz(x=p.images(**({"size": SHAPE} | images)), y=np.full(shape, values))


def classes(p, names, *folders):
    """Images in folders of these names, and a file of names of classes."""
    data = folder(p, *(f"{name}/1.png" for name in folders))
    listed = p.text("\n".join(names), ".txt")
    return p("evaluate", p.graph(POOLED, ROW), "--data", data, "--classes", listed)


def enormous(p):
    path = p.text("", ".txt")
    with path.open("wb") as file:
        file.truncate((1 << 24) + 1)
    return p.evaluate(folder(p, "a/1.png"), "--classes", path)


def unreadable(p):
    where = folder(p, "a/1.png")
    (where / "a" / "1.png").write_bytes(b"no image")
    return p.evaluate(where, "--skip-broken")


def labels_of_two(p):
    other = p.graph(POOLED, ROW, w=np.ones((5, 3, 3, 3)))
    return numbered(p, p.npz(x=p.images(size=SHAPE)), "multi-label", "--against", other)


def boxes(p, task="segmentation", n=1):
    where = folder(p, "1.png")
    image = {"id": 1, "file_name": "1.png", "height": 8, "width": 8}
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 2, 2], "area": 4, "iscrowd": 0}
    content = {"images": [image], "annotations": [box] * n, "categories": [{"id": 1, "name": "a"}]}
    (where / "boxes.json").write_text(json.dumps(content))
    return p("evaluate", p.demo, "--data", where, "--task", task)


def rows_of_csv(*rows):
    lines: list[str] = []
    csv.writer(type("Lines", (), {"write": staticmethod(lines.append)})).writerows(rows)
    return "".join(lines)


ROWS = [
    ("--ignore-index is of masks", lambda p: p.evaluate(p.digits, "--ignore-index", 3)),
    ("is not among the 2 classes of", lambda p: classes(p, ["a", "b"], "a", "c")),
    ("is the name of 2 classes in", lambda p: classes(p, ["a", "a"], "a", "a")),
    ("has more than 16 MiB", enormous),
    ("broken, so --skip-broken leaves none", unreadable),
    (
        "--preprocess resizes these; give masks of the images' size",
        lambda p: segmented(p, masks(p, 0, (4, 5, 5), size=(3, 9, 9)), "--preprocess", "size=8"),
    ),
    (
        "and masks do not follow it",
        lambda p: segmented(p, masks(p, 0, (4, 5, 5), size=(3, 9, 9)), "--preprocess", "rt-detr"),
    ),
    ("give a mask of the image's size", lambda p: segmented(p, masked(p, (8, 8), (6, 6)))),
    (
        "images have no mask of the same name (",
        lambda p: segmented(p, folder(p, "images/1.png", "images/2.png", "masks/1.png")),
    ),
    ("give a class number per pixel", lambda p: segmented(p, masks(p, 0, (4, 64)))),
    ("a mask holds 9, but the model has 8 classes", lambda p: segmented(p, masks(p, 9))),
    ("; give one mask per image", lambda p: segmented(p, masks(p, 0, (3, 8, 8)))),
    ("targets of type ", lambda p: answered(p, np.full((4, 8), "high"))),
    ("infinite targets", lambda p: answered(p, np.full((4, 8), np.inf))),
    ("give 0 or 1 for every label", lambda p: answered(p, np.ones(4), "multi-label")),
    ("a label of 3; give 0, 1", lambda p: answered(p, np.full((4, 8), 3), "multi-label")),
    (
        "5 labels per image, but output 'y' has 8",
        lambda p: answered(p, np.ones((4, 5)), "multi-label"),
    ),
    ("compare models of the same labels", labels_of_two),
    ("a .tar's table is not read", lambda p: numbered(p, packed(p))),
    ("0 tables (.csv, .json) beside the images", lambda p: numbered(p, folder(p, "1.png"))),
    (
        "1 of 2 images have no row (2.png)",
        lambda p: numbered(p, beside(p, "t.csv", rows_of_csv(["file", "value"], ["1.png", 1]))),
    ),
    (
        "give equally many in each",
        lambda p: numbered(p, beside(p, "t.json", json.dumps({"1.png": 1, "2.png": [1, 2]}))),
    ),
    (
        "neither an object of images nor a list of objects",
        lambda p: numbered(p, beside(p, "t.json", "[1, 2]")),
    ),
    (
        "; --task regression needs one",
        lambda p: p(
            "evaluate",
            p.graph("a = Conv(x, w) y = ArgMax <axis = 1> (a)", HEAD + "(int64[a,b,c,d] y) "),
            "--data",
            p.npz(x=p.images(size=SHAPE), y=np.ones((4, 8))),
            "--task",
            "regression",
        ),
    ),
]
if find_spec("pycocotools") is not None:
    ROWS.append(("has objects without a segmentation", boxes))
    ROWS.append(("none of the 1 images has an object", lambda p: boxes(p, "detection", 0)))
