"""`evaluate` for segmentation, regression and several labels: with labels, and without."""

import json

import numpy as np
import onnx
import pytest
from PIL import Image
from text_graphs import model as parsed

HEAD = '<ir_version: 8, opset_import: ["" : 13]>\n'
PLANES = np.array([[[[1.0]]], [[[-1.0]]]])  # class 0 where the pixel is bright


def written(path, text, **weights):
    onnx.save(parsed(HEAD + text, **weights), path)
    return path


@pytest.fixture
def strided(tmp_path):
    """Class 0 for a pixel above 0.5, class 1 below; at half the input's size."""
    text = """g (float[N,1,H,W] x) => (float[N,2,h,w] y) <float[2] b = {-0.5, 0.5}> {
        p = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(x)
        y = Conv(p, W, b)
    }"""
    return written(tmp_path / "strided.onnx", text, W=PLANES)


@pytest.fixture
def blocks():
    """Images of 2×2 blocks, and masks of the same."""
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 2, (4, 4, 4)).astype(np.uint8)
    big = classes.repeat(2, 1).repeat(2, 2)
    return ((1 - big) * 255)[:, None], classes, big


def seen(call, *args):
    result = call("evaluate", *args, "--json", "-")
    assert result.code == 0, result.err
    return json.loads(result.out)


SEMANTIC = ("--task", "semantic-segmentation")


def test_strided_logits_are_resized_to_the_mask(call, strided, blocks, tmp_path):
    x, small, big = blocks
    np.savez(tmp_path / "d.npz", x=x, y=small)
    assert seen(call, strided, *SEMANTIC, "--data", tmp_path / "d.npz")["mean_iou"] == 100.0
    big[:, :2] = 255
    np.savez(tmp_path / "e.npz", x=x, y=big)
    scores = seen(call, strided, "--task", "segmentation", "--data", tmp_path / "e.npz")
    assert scores["task"] == "semantic-segmentation" and scores["mean_iou"] > 60
    wrong = np.where(big == 255, 255, 1 - big)
    np.savez(tmp_path / "f.npz", x=x, y=wrong)  # the control
    assert seen(call, strided, *SEMANTIC, "--data", tmp_path / "f.npz")["mean_iou"] < 40


def test_a_mask_of_a_class_that_the_model_lacks(refuses, strided, blocks, tmp_path):
    np.savez(tmp_path / "d.npz", x=blocks[0], y=blocks[1] * 9)
    data = "--data", tmp_path / "d.npz"
    refuses("evaluate", strided, *SEMANTIC, *data, says=("a mask holds 9", "2 classes"))
    refuses("evaluate", strided, *data, "--ignore-index", "9", says=("--task",), code=2)


def test_a_folder_of_images_and_masks(call, refuses, strided, blocks, tmp_path):
    """PNG masks with a palette, black and white ones, and images that are cropped."""
    x, _, big = blocks
    for k in range(4):
        for kind in ("images", "masks", "white/imgs", "white/masks"):
            (tmp_path / "d" / kind).mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(x[k, 0])
        picture.save(tmp_path / "d/images" / f"{k}.bmp")
        picture.save(tmp_path / "d/white/imgs" / f"{k}.bmp")
        palette = Image.new("P", (8, 8))
        palette.putpalette([0, 0, 0, 200, 0, 0] + [0] * 762)
        palette.putdata(big[k].reshape(-1).tolist())
        palette.save(tmp_path / "d/masks" / f"{k}_mask.png")
        Image.fromarray(big[k] * 255).save(tmp_path / "d/white/masks" / f"{k}.png")
    scores = seen(call, strided, *SEMANTIC, "--data", tmp_path / "d/white")
    assert "255 is taken as class 1" in scores["notes"][0] and scores["mean_iou"] > 80
    (tmp_path / "d/white").rename(tmp_path / "w")
    without_white = seen(call, strided, *SEMANTIC, "--data", tmp_path / "d")
    assert without_white["notes"] == [] and without_white["mean_iou"] == scores["mean_iou"]
    cropped = seen(call, strided, *SEMANTIC, "--data", tmp_path / "d", "--preprocess", "crop=4")
    assert cropped["mean_iou"] > 80  # masks lose the same border
    (tmp_path / "d/masks/2_mask.png").unlink()
    refuses("evaluate", strided, *SEMANTIC, "--data", tmp_path / "d", says=("no mask", "2.bmp"))


def test_two_models_without_masks(call, strided, blocks, tmp_path):
    text = (
        "g (float[N,1,H,W] x) => (float[N,2,H,W] y) <float[2] b = {-0.5, 0.5}> {y = Conv(x, W, b)}"
    )
    other = written(tmp_path / "other.onnx", text, W=PLANES)
    np.savez(tmp_path / "d.npz", x=blocks[0])
    data = ("--data", tmp_path / "d.npz", *SEMANTIC)
    scores = seen(call, strided, *data, "--against", other)
    assert 70 < scores["agreement_mean_iou"] <= 100 and "mean_iou" not in scores
    turned = written(tmp_path / "turned.onnx", text, W=-PLANES)
    assert seen(call, turned, *data, "--against", other)["agreement_mean_iou"] < 70
    assert seen(call, other, *data, "--against", other)["agreement"] == 100.0


def test_a_class_map_and_a_single_channel(call, blocks, tmp_path):
    """ArgMax in the file; and one channel behind a Sigmoid, whose threshold is 0.5."""
    x, _, big = blocks
    np.savez(tmp_path / "d.npz", x=x, y=big)
    data = (*SEMANTIC, "--data", tmp_path / "d.npz")
    text = """g (float[N,1,H,W] x) => (int64[N,H,W] y) <float[2] b = {-0.5, 0.5}> {
        s = Conv(x, W, b)
        y = ArgMax<axis = 1, keepdims = 0>(s)}"""
    chosen = written(tmp_path / "chosen.onnx", text, W=PLANES)
    assert seen(call, chosen, *data)["mean_iou"] == 100.0
    text = """g (float[N,1,H,W] x) => (float[N,1,H,W] y) <float[1] b = {4.0}> {
        s = Conv(x, W, b)
        y = Sigmoid(s)}"""
    single = written(tmp_path / "single.onnx", text, W=np.full((1, 1, 1, 1), -8.0))
    assert seen(call, single, *data)["mean_iou"] == 100.0


@pytest.fixture
def numbers(tmp_path):
    """The mean of an image, and its negative."""
    text = """g (float[N,1,4,4] x) => (float[N,2] y) {
        m = GlobalAveragePool(x)
        f = Flatten(m)
        y = MatMul(f, W)}"""
    return written(tmp_path / "numbers.onnx", text, W=np.array([[1.0, -1.0]]))


@pytest.fixture
def pictures():
    return np.random.default_rng(1).random((6, 1, 4, 4)).astype(np.float32)


def test_regression_with_and_without_targets(call, refuses, numbers, pictures, tmp_path):
    mean = pictures.mean((1, 2, 3))
    np.savez(tmp_path / "d.npz", x=pictures, y=np.stack([mean + 0.25, -mean - 0.25], 1))
    task = ("--task", "regression", "--data", tmp_path / "d.npz")
    scores = seen(call, numbers, *task)
    assert scores["rmse"] == pytest.approx(0.25, rel=1e-5) and scores["psnr"] is None
    assert seen(call, numbers, *task, "--against", numbers)["agreement_relative_error"] == 0
    off = onnx.load(numbers)  # the first of the two numbers is a tenth larger
    weight = next(t for t in off.graph.initializer if t.name == "W")
    weight.CopyFrom(onnx.numpy_helper.from_array(np.array([[1.1, -1]], np.float32), "W"))
    onnx.save(off, tmp_path / "off.onnx")
    distance = seen(call, tmp_path / "off.onnx", *task, "--against", numbers)
    assert distance["agreement_relative_error"] == pytest.approx(0.1 / np.sqrt(2), rel=1e-5)
    np.savez(tmp_path / "d.npz", x=pictures, y=mean)
    refuses("evaluate", numbers, *task, says=("targets of shape ()", "(2,)"))


def test_targets_in_a_table(call, refuses, numbers, pictures, tmp_path):
    mean = []
    for k, picture in enumerate(pictures):
        raw = np.round(picture[0] * 255).astype(np.uint8)
        mean.append(raw.mean() / 255)
        (tmp_path / "d").mkdir(exist_ok=True)
        Image.fromarray(raw).save(tmp_path / "d" / f"{k}.png")
    rows = [f"{k}.png,{v},{-v}\n" for k, v in enumerate(mean)]
    table = tmp_path / "d" / "targets.csv"
    table.write_text("filename,a,b\n" + "".join(rows) + "other.png,1,\n")
    task = ("--task", "regression", "--data", tmp_path / "d")
    assert seen(call, numbers, *task)["rmse"] < 1e-6
    table.write_text("filename,a,b\n" + "".join(rows[1:]))
    refuses("evaluate", numbers, *task, says=("1 of 6 images have no row", "0.png"))
    table.write_text("a,filename\nx,0.png\n")
    refuses("evaluate", numbers, *task, says=("'x', not a number",))
    table.unlink()
    content = {str(k): [v, None if k else -v] for k, v in enumerate(mean)}
    (tmp_path / "d" / "t.json").write_text(json.dumps(content))
    assert seen(call, numbers, *task)["rmse"] < 1e-6


def test_several_labels(call, refuses, numbers, pictures, tmp_path):
    mean = pictures.mean((1, 2, 3))
    high = (mean > np.median(mean)) * 1
    np.savez(tmp_path / "d.npz", x=pictures, y=np.stack([high, 1 - high], 1))
    task = ("--task", "multi-label", "--data", tmp_path / "d.npz")
    assert seen(call, numbers, *task)["mean_ap"] == 100.0
    assert seen(call, numbers, *task, "--against", numbers)["agreement"] == 100.0
    np.savez(tmp_path / "d.npz", x=pictures, y=np.stack([1 - high, high], 1))
    assert seen(call, numbers, *task)["mean_ap"] < 80
    np.savez(tmp_path / "d.npz", x=pictures, y=np.stack([high, 3 * high], 1))
    refuses("evaluate", numbers, *task, says=("a label of 3",))
    np.savez(tmp_path / "d.npz", x=pictures)
    refuses("evaluate", numbers, *task, says=("no labels", "--against"))
