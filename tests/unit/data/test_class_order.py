"""Which label a class folder has: numbers as numbers, the model's own names, or a file's."""

import json
import tarfile

import numpy as np
import onnx
import pytest
from PIL import Image
from text_graphs import model

from reprune_onnx import Model
from reprune_onnx.data import open_data
from reprune_onnx.data.class_names import model_class_names, read_class_names
from reprune_onnx.data.images import ReadingOptions
from reprune_onnx.data.reading import Reading
from reprune_onnx.errors import DataError
from reprune_onnx.runtime.evaluate import evaluate

# The class is the brightness in steps of 20: 12 outputs, a perfect classifier of the images below.
BRIGHTNESS = """<ir_version: 8, opset_import: ["": 17]>
g (float[n,3,4,4] x) => (float[n,12] y)
<float[12] steps = {0, 20, 40, 60, 80, 100, 120, 140, 160, 180, 200, 220}, int64[1] last = {1}> {
  mean = ReduceMean <keepdims = 0, axes = [1, 2, 3]> (x)
  one = Unsqueeze (mean, last)
  d = Sub (one, steps)
  a = Abs (d)
  y = Neg (a)
}"""


def folders(root, names):
    """One image per class folder; its brightness is the folder's place in ``names``."""
    for k, name in enumerate(names):
        (root / name).mkdir(parents=True)
        Image.fromarray(np.full((4, 4, 3), 20 * k, np.uint8)).save(root / name / "1.png")
    return root


def opened(path, names=None):
    return open_data(
        str(path),
        preprocess="none",
        input_shape=(None, 3, 4, 4),
        dtype="float32",
        reading=ReadingOptions(names),
    )


def accuracy(path, names=None):
    return evaluate(Model(model(BRIGHTNESS)), opened(path, names)).top1


@pytest.mark.parametrize(
    "names",
    [
        [str(k) for k in range(12)],
        [str(k) for k in range(7, 19)],
        ["08", "9", *map(str, range(10, 20))],
    ],
    ids=["from 0", "from 7", "zeros in front"],
)
def test_names_that_are_numbers_sort_as_numbers(tmp_path, names):
    data = opened(folders(tmp_path / "set", names))
    assert data.classes == tuple(names)
    assert accuracy(tmp_path / "set") == 100
    assert f"12 images of 12 classes, 0 is '{names[0]}' and 11 is '{names[-1]}'" in data.notes[0]
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        archive.add(tmp_path / "set", "set")
    assert accuracy(tmp_path / "set.tar") == 100


def test_other_names_sort_as_text(tmp_path):
    """One name that is no number, and the order is that of text: a negative control."""
    names = [*map(str, range(11)), "ten"]
    assert opened(folders(tmp_path, names)).classes == tuple(sorted(names))
    assert accuracy(tmp_path) < 100


WORDS = ["zebra", "cat", "ant", *"qwertyuio"]


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(WORDS) + "\n\n",
        json.dumps(WORDS),
        json.dumps(dict(enumerate(WORDS))),
        json.dumps({word: k for k, word in enumerate(WORDS)}),
        str(dict(enumerate(WORDS))),
        "path: ../x\nnames:\n" + "\n".join(f"  {k}: {w}" for k, w in enumerate(WORDS)) + "\nnc: 12",
        "names:\n" + "\n".join(f"- '{w}'" for w in WORDS),
        f"nc: 12\nnames: [{', '.join(WORDS)}]\n",
        "\n".join(f"{w} and more words" for w in WORDS),
    ],
    ids=["lines", "list", "mapping", "turned", "Python", "YAML", "dashes", "flow", "first words"],
)
def test_a_file_gives_any_order(tmp_path, text):
    (tmp_path / "names.txt").write_text(text)
    folders(tmp_path / "set", WORDS)
    names = Reading(classes=tmp_path / "names.txt").options(model(BRIGHTNESS)).names
    assert accuracy(tmp_path / "set", names) == 100
    assert accuracy(tmp_path / "set") < 100
    (tmp_path / "set" / "cat" / "1.png").unlink()
    (tmp_path / "set" / "cat").rmdir()  # 11 folders of 12 classes whose names are known
    assert accuracy(tmp_path / "set", names) == 100


@pytest.mark.parametrize("key", ["names", "labels", "classes"])
def test_the_model_may_name_its_classes(tmp_path, key):
    folders(tmp_path, WORDS)
    proto = model(BRIGHTNESS)
    proto.metadata_props.add(key=key, value=str(dict(enumerate(WORDS))))
    names = Reading().options(proto).names
    data = opened(tmp_path, names)
    assert evaluate(Model(proto), data).top1 == 100
    assert f"the order is that of the model's metadata '{key}'" in data.notes[0]


@pytest.mark.parametrize("value", ["", "12", "{0: 'a', 5: 'b'}", "not a list", "[", "{}"])
def test_metadata_that_names_nothing_is_passed_over(value):
    proto = onnx.ModelProto()
    proto.metadata_props.add(key="names", value=value)
    assert model_class_names(proto) is None


def test_metadata_of_other_names_leaves_sorted_order(tmp_path):
    folders(tmp_path, [str(k) for k in range(12)])
    proto = model(BRIGHTNESS)
    proto.metadata_props.add(key="names", value=str(WORDS))
    assert accuracy(tmp_path, Reading().options(proto).names) == 100


def test_refusals_of_class_files(tmp_path):
    path = tmp_path / "names.txt"
    folders(tmp_path / "set", ["a", "b"])

    def refused(words):
        with pytest.raises(DataError, match=words):
            opened(tmp_path / "set", read_class_names(path))

    refused("cannot be read: No such file")
    path.write_bytes(b"\xff\xfe\x00")
    refused("no text in UTF-8")
    path.write_text("\n")
    refused("names no classes")
    path.write_text('{"0": "a", "2": "b"}')
    refused("not 0 to n - 1")
    path.write_text('{"a": "x"}')
    refused("has no number")
    path.write_text("a\nc\n")
    refused(r"folder 'b' is not among the 2 classes of --classes '.*' \('a' to 'c'\)")
    path.write_text("b\na\nb\n")
    refused("'b' is the name of 2 classes")


@pytest.mark.parametrize("n", [2, 11])
def test_fewer_folders_than_classes_are_said(tmp_path, n):
    folders(tmp_path, [str(k) for k in range(n)])
    with pytest.warns(RuntimeWarning, match=f"has {n} class folders, '0' to .* 12 classes: .*--cl"):
        assert accuracy(tmp_path) == 100


def test_more_folders_than_classes_are_refused(tmp_path):
    folders(tmp_path, [str(k) for k in range(13)])
    with pytest.raises(DataError, match=r"13 class folders.* 12 classes: give the folders"):
        accuracy(tmp_path)
