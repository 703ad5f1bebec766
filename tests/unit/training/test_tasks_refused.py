"""`finetune --task` before the first epoch: what does not fit is told, unneeded labels are not."""

import numpy as np
import pytest
from PIL import Image
from task_runs import MEANS, RNG, STEPS, WRONG, written

pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("lightning_fabric", reason="training needs Lightning Fabric")

PLAIN = "g (float[N,1,H,W] x) => (float[N,2,H,W] y) { y = Conv (x, W) }"
THREE = "g (float[N,1,H,W] x) => (float[N,3,H,W] y) { y = Conv (x, V) }"
ROUNDED = """g (float[N,1,H,W] x) => (int64[N,1,H,W] y) {
    s = Conv (x, V)\n r = ReduceMax <axes = [1]> (s)\n y = Cast <to = 7> (r) }"""
VALUES = {"W": WRONG, "V": np.full((3, 1, 1, 1), 0.2)}


@pytest.mark.parametrize(
    ("text", "task", "more", "says"),
    [
        (MEANS, "semantic-segmentation", (), "the model has no output"),
        (PLAIN, "multi-label", (), "the model has no output"),
        (ROUNDED, "semantic-segmentation", (), "holds class numbers that no ArgMax over"),
        (PLAIN, "classification", (), "name what it does with --task"),
        (PLAIN, "semantic-segmentation", ("--distill", THREE), "--distill: the original has"),
        (PLAIN, "semantic-segmentation", ("--distill", MEANS), "--distill: the original has"),
        (PLAIN, "semantic-segmentation", ("--data", "x,"), "has no labels: give masks of class"),
        (PLAIN, "semantic-segmentation", ("--val", "x,"), "has no labels, so --val measures"),
        (
            PLAIN,
            "semantic-segmentation",
            ("--class-weights", "1,2,3"),
            "numbers, but the model has",
        ),
        (PLAIN, "regression", ("--ignore-index", "3"), "--ignore-index is of masks"),
    ],
    ids=lambda v: str(v)[:40],
)
def test_what_does_not_fit_a_task_is_told(call, tmp_path, text, task, more, says):
    used = {name: VALUES[name] for name in VALUES if f", {name})" in text}
    used = used if text is not MEANS else {"W": np.array([[1.0, -1.0]])}
    model = written(tmp_path / "m.onnx", text, **used)
    x = np.zeros((8, 1, 4, 4), np.float32)
    y = np.zeros((8, 2) if task == "multi-label" else (8, 4, 4), np.uint8)
    x[:4], y[:4] = 1, 1
    np.savez(tmp_path / "d.npz", x=x, **({} if task == "classification" else {"y": y}))
    options = {"--data": tmp_path / "d.npz", "--task": task, "-o": tmp_path / "out.onnx"}
    for name, value in zip(more[::2], more[1::2], strict=True):
        if name == "--distill":
            its = {"W": np.array([[1.0, -1.0]])} if value is MEANS else {"V": VALUES["V"]}
            options[name] = written(tmp_path / "original.onnx", value, **its)
        else:
            options[name] = f"{tmp_path / 'd.npz'}:{value}" if value == "x," else value
    result = call("finetune", model, *(word for pair in options.items() for word in pair))
    assert result.code in (1, 2) and says in " ".join(result.err.split())
    assert not (tmp_path / "out.onnx").exists() and "epoch" not in result.out


def test_masks_of_several_sizes_are_told(call, tmp_path):
    for k in range(4):
        for kind in ("images", "masks"):
            (tmp_path / "d" / kind).mkdir(parents=True, exist_ok=True)
            Image.new("L", (4 + k // 2, 4), k % 2).save(tmp_path / f"d/{kind}/{k}.png")
    model = written(tmp_path / "m.onnx", PLAIN, W=WRONG)
    how = ("--task", "semantic-segmentation", "--data", tmp_path / "d", *STEPS)
    result = call("finetune", model, *how, "-o", tmp_path / "out.onnx")
    assert result.code == 1 and "the model leaves the size open" in result.err


def test_a_loader_of_targets_of_several_shapes_is_told(call, tmp_path, monkeypatch):
    (tmp_path / "uneven.py").write_text(
        "import numpy as np\n"
        "def batches():\n"
        "    yield np.zeros((4, 1, 4, 4), np.float32), np.zeros((4, 2))\n"
        "    yield np.zeros((4, 1, 4, 4), np.float32), np.zeros((4, 3))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    model = written(tmp_path / "m.onnx", MEANS, W=np.array([[1.0, -1.0]]))
    how = ("--task", "regression", "--data", "uneven:batches", *STEPS)
    result = call("finetune", model, *how, "-o", tmp_path / "out.onnx")
    assert result.code == 1 and "give labels of one shape, or" in result.err


def test_an_original_of_other_outputs_does_not_teach_beside_a_loss_of_ones_own(tmp_path):
    from reprune_onnx.errors import DataError
    from reprune_onnx.training.settle_goal import beside_own_loss

    two = PLAIN.replace("(float[N,2,H,W] y)", "(float[N,2,H,W] y, float[N,2,H,W] z)")
    two = two.replace("y = Conv", "z = Relu (x)\n y = Conv")
    import reprune_onnx as rp

    one, other = (
        rp.load(written(tmp_path / name, text, W=WRONG))
        for name, text in (("1.onnx", PLAIN), ("2.onnx", two))
    )
    with pytest.raises(DataError, match=" outputs, the model has "):
        beside_own_loss(one, other)


# ── labels that nobody needs ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("broken", ["missing", "coloured", "larger"])
def test_masks_that_nobody_needs_stop_nothing(call, tmp_path, broken):
    for k in range(8):
        for kind in ("images", "masks"):
            (tmp_path / "d" / kind).mkdir(parents=True, exist_ok=True)
            pixels = RNG.integers(0, 256 if kind == "images" else 2, (4, 4)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"d/{kind}/{k}.png")
    mask = tmp_path / "d/masks/3.png"
    mask.unlink()
    if broken != "missing":
        size = (4, 4) if broken == "coloured" else (5, 4)
        Image.new("RGB" if broken == "coloured" else "L", size, 1).save(mask)
    if broken == "coloured":
        Image.effect_noise((4, 4), 60).convert("L").save(mask)
        Image.merge("RGB", [Image.effect_noise((4, 4), 60) for _ in range(3)]).save(mask)
    model = written(tmp_path / "m.onnx", PLAIN, W=WRONG)
    original = written(tmp_path / "o.onnx", PLAIN, W=-WRONG)
    how = ("--task", "semantic-segmentation", "--data", tmp_path / "d")
    result = call("finetune", model, *how, "--distill", original, *STEPS, "-o", tmp_path / "a.onnx")
    assert result.code == 0, result.err
    assert "labels are not used: " in result.err and "3" in result.err
    assert call("evaluate", model, *how, "--against", original).code == 0
    result = call("finetune", model, *how, *STEPS, "-o", tmp_path / "b.onnx")
    assert result.code == 1 and "3" in result.err  # the control: there they are needed
