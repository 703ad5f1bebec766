"""Images and labels that cannot be read, or do not fit the model."""

from types import SimpleNamespace

import numpy as np
from PIL import Image

from reprune_onnx.data.coco import open_coco
from reprune_onnx.data.image_folder import _entries
from reprune_onnx.data.loader import open_loader
from reprune_onnx.data.open import open_data
from reprune_onnx.data.target import image_target
from reprune_onnx.runtime.categories import Categories

LOADER = "import numpy as np\ndef few(): return 5\ndef flat(): yield np.zeros((2, 3))\n"
LOADER += "def three(): yield 1, 2, 3\ndef broken(): raise KeyError('k')\n"
TWO = '<ir_version: 8, opset_import: ["": 17]> g (float[1,3,8,8] x, float[1,3,8,8] z)'
TWO += " => (float[a,b,c,d] y) "
ADDED = "s = Add(x, z) a = Conv(s, w) y = Conv(a, v)"
OPEN = '<ir_version: 8, opset_import: ["": 17]> g (float[n,3,h,l] x) => (float[a,b] y) '
POOLED = "a = Conv(x, w) b = GlobalAveragePool(a) y = Flatten(b)"


def loader(p, name):
    (p.tmp / "own_loader.py").write_text(LOADER, encoding="utf-8")
    return p.evaluate(f"own_loader:{name}")


def picture(p, *where, mode="L", size=(8, 8)):
    path = p.tmp.joinpath("pictures", *where)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path)
    return p.tmp / "pictures"


def pictures(p, *many):
    for where in many:
        folder = picture(p, *where)
    return folder


def calibrated(p, model, **arrays):
    data = p.npz(**arrays)
    return p.prune("--sparsity", 0.3, "--calibration", data, model=model)


def opened(p):
    shape = (None, 1, 8, 8)
    return open_data(str(p.digits), preprocess=None, input_shape=shape, dtype="f4")


def sizes(p):
    picture(p, "a", "1.png", mode="RGB", size=(9, 9))
    folder = picture(p, "a", "2.png", mode="RGB", size=(8, 8))
    return p("evaluate", p.graph(POOLED, OPEN), "--data", folder)


def whole(p):
    folder = picture(p, "a", "1.png", mode="RGB")
    return p("evaluate", p.graph(POOLED, OPEN), "--data", folder, "--preprocess", "ultralytics")


def folder_of_json(p):
    for name in ("a.json", "b.json"):
        (p.tmp / name).write_text("{}")
    picture(p, "1.png")
    return open_coco(p.tmp)


ROWS = [
    (
        "give equally many",
        lambda p: calibrated(
            p, p.graph(ADDED, TWO), x=np.zeros((4, 3, 8, 8)), z=np.zeros((5, 3, 8, 8))
        ),
    ),
    (
        "give a row for each sample",
        lambda p: calibrated(
            p, p.graph(ADDED, TWO), x=np.zeros((4, 3, 8, 8)), z=np.zeros((4, 3, 8, 9))
        ),
    ),
    (
        "holds no samples",
        lambda p: calibrated(
            p, p.graph(ADDED, TWO), x=np.zeros((0, 3, 8, 8)), z=np.zeros((0, 3, 8, 8))
        ),
    ),
    ("take at least 1", lambda p: opened(p).take(0)),
    (
        "give --preprocess size=",
        lambda p: p.evaluate(p.npz(x=p.images(size=(1, 9, 9)), y=np.arange(4))),
    ),
    (
        "convert it to uint8",
        lambda p: p.evaluate(p.npz(x=p.images().astype(np.int16), y=np.arange(4))),
    ),
    (
        "channels, first or last, but the model takes",
        lambda p: p.evaluate(p.npz(x=p.images(size=(8, 5, 8)), y=np.arange(4))),
    ),
    (
        "give images with the model's channels",
        lambda p: p.evaluate(p.npz(x=p.images(size=(3, 8, 8)), y=np.arange(4))),
    ),
    (
        "give one per channel",
        lambda p: p.evaluate(p.digits, "--preprocess", "mean=1,2,3;std=1,1,1"),
    ),
    ("the model leaves the size open", sizes),
    ("fit=letterbox needs one", whole),
    ("which resizes the shorter side", lambda p: p.evaluate(picture(p, "a", "1.png", size=(5, 5)))),
    ("folders deep, not 1", lambda p: p.evaluate(pictures(p, ("a", "b", "1.png"), ("a", "2.png")))),
    ("images both in the folder", lambda p: p.evaluate(pictures(p, ("1.png",), ("a", "2.png")))),
    ("an array of shape (2, 3) has rank 2", lambda p: loader(p, "flat")),
    ("3 values, not 1 or 2", lambda p: loader(p, "three")),
    ("returns int, not batches", lambda p: loader(p, "few")),
    ("correct the loader", lambda p: loader(p, "broken")),
    ("module own_loader has no", lambda p: loader(p, "nothing")),
    ("install it or run from the folder", lambda p: p.evaluate("no_such_module_at_all:f")),
    (
        "arrays may be what the model",
        lambda p: p.evaluate(p.npz(a=p.images(), b=p.images())),
    ),
    ("has rank 3, not 4", lambda p: p.evaluate(p.npz(x=np.zeros((4, 8, 8))))),
    ("no array 'q'", lambda p: p.evaluate(f"{p.digits}:q,y")),
    ("give one class number per image", lambda p: p.evaluate(p.npz(x=p.images(), y=np.eye(4)))),
    ("give one label per image", lambda p: p.evaluate(p.npz(x=p.images(), y=np.arange(3)))),
    (
        "is not a class number",
        lambda p: p.evaluate(p.npz(x=p.images(), y=np.array([0, 1, 0.5, 2]))),
    ),
    ("take a model with an image input", lambda p: image_target((1, 3), np.dtype(np.float32))),
    (
        "holds images, but the model takes",
        lambda p: p.prune(
            "--sparsity", 0.3, "--calibration", picture(p, "1.png"), model=p.graph(ADDED, TWO)
        ),
    ),
    (
        "named like it",
        lambda p: p.prune(
            "--sparsity", 0.3, "--calibration", f"{p.digits}:x", model=p.graph(ADDED, TWO)
        ),
    ),
    ("but the model has 10 classes", lambda p: p.evaluate(p.npz(x=p.images(), y=np.arange(4) + 8))),
    (
        "classification needs one",
        lambda p: p(
            "evaluate",
            p.graph("a = Conv(x, w) y = Relu(a)"),
            "--data",
            p.npz(x=np.zeros((2, 3, 8, 8))),
        ),
    ),
    ("give --annotations", folder_of_json),
    (
        "3 channels, but the model takes 1",
        lambda p: p.evaluate(picture(p, "a", "1.png", mode="RGB"), "--preprocess", "color=rgb"),
    ),
    ("cannot be had by number", lambda p: open_loader("numpy:zeros").at(np.arange(2))),
    ("cannot be listed", lambda p: _entries(p.tmp / "none", ())),
    (
        "lists no categories",
        lambda p: Categories({}, SimpleNamespace(name="d.json")).check({1}),
    ),
]
