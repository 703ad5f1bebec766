"""`finetune --task`: masks, numbers and several labels train a model, and measure it."""

import json

import numpy as np
import onnx
import pytest
from PIL import Image
from task_runs import MEANS, RNG, STEPS, WRONG, measured, start_and_end, trained, written

pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("lightning_fabric", reason="training needs Lightning Fabric")

# ── masks ───────────────────────────────────────────────────────────────────────────────────

PLANES = 0.1 * RNG.standard_normal((2, 1, 1, 1))
BODIES = {
    "logits": ("float[N,2,h,w]", "y = Conv (x, W)"),
    "probabilities": ("float[N,2,h,w]", "s = Conv (x, W)\n y = Softmax <axis = 1> (s)"),
    "a class map": ("int64[N,h,w]", "s = Conv (x, W)\n y = ArgMax <axis = 1, keepdims = 0> (s)"),
    "strided, resized probabilities": (
        "float[N,2,h,w]",
        """p = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (x)
        c = Conv (p, W)\n s = Softmax <axis = 1> (c)
        y = Resize <mode = "linear"> (s, , scales)""",
    ),
    "channels last": (
        "float[N,h,w,2]",
        """c = Conv (x, W)\n t = Transpose <perm = [0, 2, 3, 1]> (c)\n s = Softmax <axis = 3> (t)
        y = Transpose <perm = [0, 3, 1, 2]> (s)""",
    ),
    "strided": (
        "float[N,2,h,w]",
        "p = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (x)\n y = Conv (p, W)",
    ),
}


def segmenter(path, kind):
    out, body = BODIES[kind]
    text = f"g (float[N,1,H,W] x) => ({out} y) {{ {body} }}"
    scales = {"scales": np.array([1, 1, 2, 2], np.float32)} if "scales" in body else {}
    return written(path / "model.onnx", text, W=WRONG, **scales)


@pytest.mark.parametrize("kind", BODIES)
def test_masks_train_what_class_maps_are_made_of(call, tmp_path, pictures, kind):
    model = segmenter(tmp_path, kind)
    out, log, said = trained(call, tmp_path, model, pictures, "semantic-segmentation")
    start, end = start_and_end(log, "val_mean_iou")
    assert start < 20 and end == 100.0
    for path, scores_of in ((model, start), (out, end)):  # as evaluate measures it
        scores = measured(call, path, pictures, "semantic-segmentation")
        assert scores["mean_iou"] == pytest.approx(scores_of)
    assert "epoch   0  val mean IoU" in said and "val mean IoU 100.00 %" in said
    assert [o.name for o in onnx.load(out).graph.output] == ["y"]


def test_one_plane_is_class_one_where_it_is_high(call, tmp_path, pictures):
    text = """g (float[N,1,H,W] x) => (float[N,1,H,W] y) <float[1,1,1,1] W = {1.0}> {
        s = Conv (x, W)\n y = Sigmoid (s)}"""
    model = written(tmp_path / "plane.onnx", text)
    out, log, _ = trained(call, tmp_path, model, pictures, "semantic-segmentation")
    assert start_and_end(log, "val_mean_iou")[1] == 100.0
    assert measured(call, out, pictures, "semantic-segmentation")["mean_iou"] == 100.0


def test_a_folder_of_masks_trains_too_and_moves_with_its_images(call, tmp_path, pictures):
    with np.load(pictures) as arrays:
        x, masks = arrays["x"], arrays["y"]
    for k in range(16):
        for kind in ("images", "masks"):
            (tmp_path / "d" / kind).mkdir(parents=True, exist_ok=True)
        pixels = np.clip(x[k, 0] * 100 + 128, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"d/images/{k}.png")
        Image.fromarray(masks[k]).save(tmp_path / f"d/masks/{k}.png")
    how = ("--preprocess", "mean=0.5;std=0.4", "--augment", "crop-flip")
    model = segmenter(tmp_path, "logits")
    _, log, _ = trained(call, tmp_path, model, tmp_path / "d", "semantic-segmentation", *how)
    assert start_and_end(log, "val_mean_iou")[1] == 100.0
    assert log["epochs"][-1]["loss"] < 0.1  # of pixels that moved apart from masks it stays above


def test_the_original_teaches_without_masks(call, tmp_path, pictures):
    text = "g (float[N,1,H,W] x) => (float[N,2,H,W] y) { y = Conv (x, W) }"
    original = written(tmp_path / "original.onnx", text, W=-WRONG)
    model = segmenter(tmp_path, "strided, resized probabilities")
    data = f"{pictures}:x,"
    how = ("--distill", original)
    out, log, said = trained(call, tmp_path, model, data, "semantic-segmentation", *how)
    start, end = start_and_end(log, "val_agreement_mean_iou")
    assert start < 20 and end > 90
    assert "mean IoU with the original" in said
    scores = measured(call, out, data, "semantic-segmentation", "--against", original)
    assert scores["agreement_mean_iou"] == pytest.approx(end)


# ── numbers ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def numbers(tmp_path):
    """24 images and twice their mean, and its negative; one number is not known."""
    x = RNG.random((24, 1, 4, 4)).astype(np.float32) + np.arange(24).reshape(-1, 1, 1, 1) / 12
    mean = x.mean((1, 2, 3))
    y = np.stack([2 * mean, -mean], 1)
    y[3, 1] = np.nan
    np.savez(tmp_path / "n.npz", x=x.astype(np.float32), y=y)
    return tmp_path / "n.npz"


@pytest.mark.parametrize("loss", ["mse", "l1", "smooth-l1"])
def test_numbers_are_learned(call, tmp_path, numbers, loss):
    model = written(tmp_path / "m.onnx", MEANS, W=np.array([[0.5, 0.5]]))
    out, log, said = trained(call, tmp_path, model, numbers, "regression", "--loss", loss)
    start, end = start_and_end(log, "val_rmse")
    assert start > 1 and end < 0.4 * start
    assert measured(call, out, numbers, "regression")["rmse"] == pytest.approx(end, rel=1e-4)
    assert "val RMSE" in said and log["task"]["loss"] == loss


def test_images_as_targets_in_another_layout(call, tmp_path):
    text = "g (float[N,1,H,W] x) => (float[N,3,H,W] y) { y = Conv (x, W) }"
    model = written(tmp_path / "m.onnx", text, W=np.full((3, 1, 1, 1), 0.1))
    x = RNG.random((16, 1, 4, 4)).astype(np.float32)
    y = np.moveaxis(x * np.array([1, 0.5, -1]).reshape(1, 3, 1, 1), 1, 3)
    np.savez(tmp_path / "i.npz", x=x, y=y)
    how = ("--augment", "flip")
    _, log, _ = trained(call, tmp_path, model, tmp_path / "i.npz", "regression", *how)
    start, end = start_and_end(log, "val_rmse")
    assert end < 0.2 * start


def test_a_table_and_the_original_together(call, tmp_path):
    (tmp_path / "d").mkdir()
    rows = ["file,a,b"]
    for k in range(16):
        pixels = RNG.integers(0, 256, (4, 4)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"d/{k}.png")
        rows.append(f"{k}.png,{pixels.mean() / 255},{-pixels.mean() / 255}")
    (tmp_path / "d" / "t.csv").write_text("\n".join(rows))
    right = np.array([[1.0, -1.0]])
    original = written(tmp_path / "o.onnx", MEANS, W=right)
    model = written(tmp_path / "m.onnx", MEANS, W=0.2 * right)
    data = tmp_path / "d"
    _, log, _ = trained(call, tmp_path, model, data, "regression", "--distill", original)
    start, end = start_and_end(log, "val_rmse")
    assert end < 0.2 * start
    (tmp_path / "d" / "t.csv").write_text("file,a\n0.png,x\n")  # which nobody needs
    how = ("--distill", original)
    _, log, said = trained(call, tmp_path, model, data, "regression", *how, name="taught")
    assert "relative distance from the original" in said
    assert start_and_end(log, "val_loss")[1] < start_and_end(log, "val_loss")[0]


# ── several labels ──────────────────────────────────────────────────────────────────────────


@pytest.fixture
def flags(tmp_path):
    """Two labels: a bright image, and a dark one; some are not known."""
    x = RNG.standard_normal((32, 1, 4, 4)).astype(np.float32)
    x += np.where(np.arange(32) % 4 == 0, 2.0, -1.0).reshape(-1, 1, 1, 1)
    bright = (x.mean((1, 2, 3)) > 0.5) * 1
    y = np.stack([bright, 1 - bright], 1)
    y[5, 0] = -1
    np.savez(tmp_path / "f.npz", x=x.astype(np.float32), y=y)
    return tmp_path / "f.npz"


SQUASHED = MEANS.replace("y = Add (s, b)", "l = Add (s, b)\n y = Sigmoid (l)")
JOINED = MEANS.replace(
    "y = Add (s, b)",
    """l = Add (s, b)\n p = Slice (l, zero, one, one)\n q = Slice (l, one, two, one)
    u = Sigmoid (p)\n v = Sigmoid (q)\n y = Concat <axis = 1> (u, v)""",
)
PLACES = {"zero": np.array([0]), "one": np.array([1]), "two": np.array([2])}


@pytest.mark.parametrize("text", [MEANS, SQUASHED, JOINED], ids=["logits", "squashed", "joined"])
@pytest.mark.parametrize("weights", [(), ("--class-weights", "balanced")], ids=["", "balanced"])
def test_several_labels_are_learned(call, tmp_path, flags, text, weights):
    given = PLACES if text is JOINED else {}
    model = written(tmp_path / "m.onnx", text, W=np.array([[-1.0, 1.0]]), **given)
    out, log, said = trained(call, tmp_path, model, flags, "multi-label", *weights)
    start, end = start_and_end(log, "val_mean_ap")
    assert start < 70 and end == 100.0
    assert measured(call, out, flags, "multi-label")["mean_ap"] == end
    assert "val mean AP 100.00 %" in said


def test_a_teacher_of_several_labels(call, tmp_path, flags):
    original = written(tmp_path / "o.onnx", SQUASHED, W=np.array([[2.0, -2.0]]))
    model = written(tmp_path / "m.onnx", MEANS, W=np.array([[-1.0, 1.0]]))
    how = ("--distill", original)
    out, log, _ = trained(call, tmp_path, model, f"{flags}:x,", "multi-label", *how)
    start, end = start_and_end(log, "val_agreement")
    assert start < 20 and end > 90
    scores = measured(call, out, f"{flags}:x,", "multi-label", "--against", original)
    assert scores["agreement"] == pytest.approx(end)


# ── a loss of one's own, rounds, and pruning while training ─────────────────────────────────


@pytest.mark.parametrize("taught", [False, True])
def test_a_loss_of_ones_own_for_a_task(call, tmp_path, pictures, monkeypatch, taught):
    """It gets the graph's outputs and masks with -1 where they do not count, beside a teacher."""
    (tmp_path / f"own_mask_loss_{taught}.py").write_text(
        "import torch\n"
        "def loss(outputs, target):\n"
        "    assert outputs.shape[1] == 2 and target.min() == -1 and target.max() == 1\n"
        "    return torch.nn.functional.cross_entropy(outputs, target, ignore_index=-1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    model = segmenter(tmp_path, "logits")
    text = "g (float[N,1,H,W] x) => (float[N,2,H,W] y) { y = Conv (x, W) }"
    original = written(tmp_path / "o.onnx", text, W=-WRONG)
    how = ("--loss", f"own_mask_loss_{taught}:loss", *(("--distill", original) if taught else ()))
    _, log, _ = trained(call, tmp_path, model, pictures, "semantic-segmentation", *how)
    assert start_and_end(log, "val_mean_iou")[1] == 100.0


def test_a_teacher_beside_a_loss_of_ones_own_teaches(call, tmp_path, monkeypatch):
    """Where the loss asks for nothing, only the original is left to learn from."""
    (tmp_path / "no_wish.py").write_text(
        "import numpy as np\n"
        "def batches():\n"
        "    for k in range(8):\n"
        "        yield np.random.default_rng(k).random((4, 1, 4, 4), np.float32), 0\n"
        "def loss(outputs, target):\n"
        "    return 0 * outputs.sum()\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    original = written(tmp_path / "o.onnx", MEANS, W=np.array([[1.0, -1.0]]))
    model = written(tmp_path / "m.onnx", MEANS, W=np.array([[-1.0, 1.0]]))
    how = ("finetune", model, "--data", "no_wish:batches", "--loss", "no_wish:loss", *STEPS)
    assert call(*how, "-o", tmp_path / "alone.onnx").code == 0
    assert call(*how, "--distill", original, "-o", tmp_path / "taught.onnx").code == 0
    wanted, alone, taught = (
        onnx.numpy_helper.to_array(onnx.load(tmp_path / name).graph.initializer[-1])
        for name in ("o.onnx", "alone.onnx", "taught.onnx")
    )
    assert np.abs(taught - wanted).max() < 1.2 < 1.9 < np.abs(alone - wanted).max()


WIDE = """g (float[N,1,4,4] x) => (float[N,2] y) {
    c = Conv (x, V)\n r = Relu (c)\n m = GlobalAveragePool (r)\n f = Flatten (m)
    y = MatMul (f, W) }"""


@pytest.mark.parametrize("command", ["rounds", "train"])
def test_a_task_is_pruned_in_rounds_and_while_it_trains(call, tmp_path, numbers, command):
    rng = np.random.default_rng(5)
    weights = {"V": np.abs(rng.standard_normal((8, 1, 1, 1))), "W": rng.standard_normal((8, 2))}
    model = written(tmp_path / "m.onnx", WIDE, **weights)
    ways = {
        "rounds": ("finetune", model, "--macs-reduction", "0.5", "--rounds", "2"),
        "train": ("train", model, "--sparsity", "0.5", "--prune-epochs", "2", "--interval", "1"),
    }
    out = tmp_path / "out.onnx"
    how = ("--data", numbers, "--task", "regression", *STEPS, "-o", out)
    result = call(*ways[command], *how)
    assert result.code == 0, result.err
    log = json.loads((tmp_path / "out.training.json").read_text())
    scores = measured(call, out, numbers, "regression")
    assert log["result"]["scores"]["val_rmse"] == pytest.approx(scores["rmse"], rel=1e-4)
    assert scores["rmse"] < measured(call, model, numbers, "regression")["rmse"]
    assert json.loads((tmp_path / "out.report.json").read_text())["achieved"]["sparsity"] > 0.3
