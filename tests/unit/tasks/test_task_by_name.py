"""`evaluate_task` takes what `evaluate` takes, and a task by its name."""

import numpy as np
import onnx
import pytest
from text_graphs import model

import reprune_onnx as rp

RNG = np.random.default_rng(3)
W = RNG.standard_normal((4, 3, 1, 1))
TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[n, 3, 5, 6] x) => (float[n, 4, 5, 6] y) { y = Conv (x, w) }"""


@pytest.fixture
def files(tmp_path):
    """A model that tells the class of every pixel, and images with their masks."""
    onnx.save(model(TEXT, w=W), tmp_path / "m.onnx")
    x = RNG.standard_normal((6, 3, 5, 6)).astype(np.float32)
    masks = np.einsum("nchw,kc->nkhw", x, W[:, :, 0, 0]).argmax(1)
    np.savez(tmp_path / "data.npz", x=x, masks=masks, others=(masks + 1) % 4)
    return tmp_path / "m.onnx", tmp_path / "data.npz", x, masks


def test_paths_and_arrays(files):
    path, data, x, masks = files
    right = rp.evaluate_task(path, f"{data}:x,masks", "semantic-segmentation")
    assert (right.n, right.task, right.scores["mean_iou"]) == (6, "semantic-segmentation", 100)
    held = rp.evaluate_task(onnx.load(path), {"x": x, "y": masks}, "semantic-segmentation")
    assert held.scores == right.scores
    wrong = rp.evaluate_task(path, f"{data}:x,others", "semantic-segmentation")  # the control
    assert wrong.scores["mean_iou"] == 0


def test_the_original_is_compared_without_labels(files):
    path, data, *_ = files
    alike = rp.evaluate_task(path, f"{data}:x,", "semantic-segmentation", against=path)
    assert alike.scores["agreement"] == 100


def test_what_is_no_task_and_what_is_no_data(files):
    path, data, *_ = files
    with pytest.raises(rp.UsageError, match=r"'masks' is not one of semantic-segmentation, regr"):
        rp.evaluate_task(path, f"{data}:x,masks", "masks")
    with pytest.raises(rp.ArgumentError, match=r"data takes a path, an array or a Dataset"):
        rp.evaluate_task(path, iter([]), "regression")
