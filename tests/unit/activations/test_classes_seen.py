"""A note where images show a classifier of few classes only some of them; else none."""

from pathlib import Path

import numpy as np
import pytest
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.activations.images import Images, images_to_fit

TEXT = """<ir_version: 8, opset_import: ["": 17]>
g (float[n,CLASSES] x) => (float[n,CLASSES] y) {
  a = MatMul (x, w)
  y = Softmax (a)
}"""
LOGITS = TEXT.replace("  y = Softmax (a)", "  y = Identity (a)")


def noted(tmp_path: Path, answers: list[int], classes: int, text: str = TEXT, **y: object) -> str:
    """The notes on images of which a network gives such answers."""
    x = np.eye(classes, dtype=np.float32)[answers]
    x += 0.1 * np.random.default_rng(0).random(x.shape, np.float32)
    path = tmp_path / "x.npz"
    np.savez(path, x=x, **y)
    proto = model(text.replace("CLASSES", str(classes)), w=5 * np.eye(classes))
    settings = rp.Settings(sparsity=0.5, calibration=str(path))
    images = images_to_fit(proto, settings)
    assert isinstance(images, Images)
    return "\n".join(images.notes)


def test_two_of_four_classes(tmp_path: Path) -> None:
    said = noted(tmp_path, [0, 2] * 40, 4)
    assert "on 80 of the images the model gives 2 of its 4 answers, never 1 or 3" in said


@pytest.mark.parametrize(
    ("answers", "classes"), [([0, 1, 2, 3] * 20, 4), ([0] * 31, 4), ([0] * 200, 20)]
)
def test_all_classes_few_images_and_many_classes(
    answers: list[int], classes: int, tmp_path: Path
) -> None:
    assert "answers" not in noted(tmp_path, answers, classes)


def test_logits_count_where_labels_say_that_they_are(tmp_path: Path) -> None:
    """A regression has a largest output too."""
    assert "answers" not in noted(tmp_path, [0] * 80, 4, LOGITS)
    assert "never 1 or 2 or 3" in noted(tmp_path, [0] * 80, 4, LOGITS, y=np.zeros(80, np.int64))


def test_maps_of_four_channels_are_no_classes(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 17]>
    g (float[n,4,8,8] x) => (float[n,4,8,8] y) { a = Conv (x, w) y = Softmax <axis = 1> (a) }"""
    path = tmp_path / "x.npz"
    np.savez(path, x=np.random.default_rng(0).random((64, 4, 8, 8), np.float32))
    settings = rp.Settings(sparsity=0.5, calibration=str(path))
    images = images_to_fit(model(text, w=np.eye(4).reshape(4, 4, 1, 1)), settings)
    assert "answers" not in "\n".join(images.notes)
