"""``--preprocess fit=…``: whole images at a detector's size, and boxes back on the image."""

import numpy as np
import pytest
from PIL import Image
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.data import open_data, parse_preprocess
from reprune_onnx.data.geometry import Placement, placed, placement
from reprune_onnx.errors import DataError, UsageError
from reprune_onnx.runtime.detector import Detector

SIDES = (64, 96)


def picture(h: int, w: int) -> np.ndarray:
    return np.random.default_rng(h * w).integers(0, 256, (h, w, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    ("size", "fit", "wanted"),
    [
        ((32, 48), "letterbox", (64, 96, 0, 0)),  # the same proportions, and it is enlarged
        ((128, 96), "letterbox", (64, 48, 0, 24)),
        ((50, 100), "letterbox", (48, 96, 8, 0)),
        ((63, 97), "letterbox", (62, 96, 1, 0)),
        ((100, 151), "letterbox", (64, 96, 0, 0)),
        ((61, 96), "letterbox", (61, 96, 1, 0)),  # 1.5 above and below: 1 above, 2 below
        ((128, 96), "corner", (64, 48, 0, 0)),
        ((67, 101), "corner", (63, 96, 0, 0)),  # 63.7 is cut off
        ((500, 1), "letterbox", (64, 1, 0, 47)),
        ((7, 3), "stretch", (64, 96, 0, 0)),
    ],
)
def test_where_an_image_lies(size, fit, wanted):
    at = placement(*size, SIDES, fit)
    assert at == Placement(*wanted)
    assert at.top + at.height <= SIDES[0] and at.left + at.width <= SIDES[1]


@pytest.mark.parametrize("fit", ["letterbox", "corner"])
def test_the_image_is_whole_and_the_rest_is_gray(fit):
    image = picture(32, 24)
    result = placed(image, (32, 40), fit, None)
    left = 8 if fit == "letterbox" else 0
    np.testing.assert_array_equal(result[:, left : left + 24], image)
    assert (np.delete(result, np.s_[left : left + 24], axis=1) == 114).all()
    fractions = placed(image.astype(np.float32) / 255, (32, 40), fit, None)
    np.testing.assert_allclose(fractions * 255, result, atol=1e-4)
    assert not placed(image, (32, 40), fit, 0.0)[:, -1].any()


@pytest.mark.parametrize(
    ("name", "color", "values", "gray"),
    [
        ("ultralytics", slice(None), lambda x: x / 255, 114 / 255),
        ("yolox", slice(None, None, -1), lambda x: x, 114),
        ("scrfd", slice(None), lambda x: (x - 127.5) / 128, -127.5 / 128),
    ],
)
def test_files_and_arrays_are_fed_as_the_family_is(tmp_path, name, color, values, gray):
    image = picture(8, 4)
    Image.fromarray(image).save(tmp_path / "a.png")
    np.savez(tmp_path / "a.npz", x=image[None])
    left = 2 if name == "ultralytics" else 0
    for data in (tmp_path, tmp_path / "a.npz"):
        how = {"input_shape": (None, 3, 8, 8), "dtype": "float32", "preprocess": name}
        (x,) = next(open_data(str(data), **how).batches(1))[0].transpose(0, 2, 3, 1)
        wanted = values(image.astype(np.float64))[..., color]
        np.testing.assert_allclose(x[:, left : left + 4], wanted, rtol=1e-5)
        np.testing.assert_allclose(x[:, 6:], gray, rtol=1e-5)


def test_an_open_size_is_asked_for(tmp_path):
    Image.fromarray(picture(8, 4)).save(tmp_path / "a.png")
    how = {"input_shape": (None, 3, None, None), "dtype": "float32"}
    with pytest.raises(DataError, match=r"fit=letterbox needs one: add size=H,W"):
        open_data(str(tmp_path), preprocess="ultralytics", **how)
    for size, wanted in (("16", (16, 16)), ("16,24", (16, 24))):
        data = open_data(str(tmp_path), preprocess=f"ultralytics;size={size}", **how)
        assert next(data.batches(1))[0].shape == (1, 3, *wanted)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ultralytics;crop=8", "fit shows whole images"),
        ("none;fill=3", "add one of them"),
        ("rt-detr;fill=3", "add one of them"),
        ("fit=contain", "letterbox, corner, stretch"),
        ("ultralitics", "did you mean 'ultralytics'"),
    ],
)
def test_what_does_not_go_together(text, words):
    with pytest.raises(UsageError, match=words):
        parse_preprocess(text)


@pytest.mark.parametrize("fit", ["letterbox", "corner", "stretch"])
@pytest.mark.parametrize("size", [(40, 20), (24, 64)])
def test_boxes_and_masks_come_back_to_the_image(fit, size):
    """A detector that boxes and masks what is white; the image is gray but for a rectangle."""
    h, w = size
    at = placement(h, w, (64, 64), fit)
    across, down = at.width / w, at.height / h
    box = np.array([[4 * across, 8 * down, 12 * across, 20 * down]]) + [at.left, at.top] * 2
    proto = model(
        '<ir_version: 8, opset_import: ["" : 13]> g (float[1,3,64,64] x) =>'
        " (float[1,4] boxes, int64[1] labels, float[1] scores, float[1,1,64,64] masks) {"
        " boxes = Identity (b) labels = Identity (l) scores = Identity (s)"
        " r = ReduceMax <axes = [1]> (x) m = Greater (r, t) masks = Cast <to = 1> (m) }",
        b=box.astype(np.float32),
        l=np.array([3]),
        s=np.array([0.9], np.float32),
        t=np.array(0.7, np.float32),
    )
    image = np.full((h, w, 3), 114, np.uint8)
    image[8:20, 4:12] = 255
    seen = Detector(rp.Model(proto), parse_preprocess(f"fit={fit}")).detect(image, "a")
    np.testing.assert_allclose(seen.boxes, [[4, 8, 12, 20]], atol=1e-3)
    assert seen.masks is not None and seen.masks.shape == (1, h, w)
    wanted = image[..., 0] == 255
    assert (seen.masks[0] != wanted).sum() <= 20 < wanted.sum()
