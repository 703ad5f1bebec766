"""CIFAR's own files: read by torchvision where it is there, refused in one line where it is not."""

import hashlib
import pickle
import sys

import numpy as np
import pytest

from reprune_onnx.data.open import open_data
from reprune_onnx.errors import DataError

SHAPE = (None, 3, 32, 32)


def opened(folder, split="test"):
    return open_data(str(folder), preprocess=None, input_shape=SHAPE, dtype=np.float32, split=split)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Six images in CIFAR-10's files, whose checksums are made those that torchvision expects."""
    cifar = pytest.importorskip("torchvision.datasets").CIFAR10
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rng = np.random.default_rng(0)

    def write(name, content):
        raw = pickle.dumps(content, protocol=2)
        (folder / name).write_bytes(raw)
        return [name, hashlib.md5(raw).hexdigest()]

    def batch(name, labels):
        x = rng.integers(0, 256, (len(labels), 3072), dtype=np.uint8)
        return write(name, {"data": x, "labels": labels}), x

    (first, a), (second, b), (test, c) = (
        batch(*given) for given in (("data_batch_1", [3, 1]), ("data_batch_2", [0]), ("test", [2]))
    )
    names = {"label_names": list("abcd")}
    name, md5 = write("batches.meta", names)
    meta = {"filename": name, "key": "label_names", "md5": md5}
    for attribute, value in (
        ("train_list", [first, second]),
        ("test_list", [test]),
        ("meta", meta),
    ):
        monkeypatch.setattr(cifar, attribute, value)
    return tmp_path, {"train": np.concatenate([a, b]), "test": c}


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("inner", ["", "cifar-10-batches-py"])
def test_images_and_labels_of_a_split(root, split, inner):
    folder, images = root
    data = opened(folder / inner, split)
    ((x, y),) = data.batches(8)
    assert np.array_equal(np.round(x * 255).reshape(len(x), -1), images[split])
    assert list(y) == {"train": [3, 1, 0], "test": [2]}[split]


def test_files_with_another_checksum_are_not_opened(root):
    folder, _ = root
    file = folder / "cifar-10-batches-py" / "test"
    file.write_bytes(file.read_bytes() + b"\n")
    with pytest.raises(DataError, match="checksum is not the published one"):
        opened(folder)


def test_without_torchvision_one_line_says_so(tmp_path, monkeypatch):
    (tmp_path / "cifar-100-python").mkdir()
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(DataError, match="pip install torchvision"):
        opened(tmp_path)
