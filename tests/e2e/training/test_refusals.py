"""What `finetune` cannot train is one line before the first epoch."""

import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from networks import PRE
from PIL import Image

pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("lightning_fabric", reason="training needs Lightning Fabric")


def images(folder, classes: int = 10, side: int = 8, n: int = 2) -> None:
    for c in range(classes):
        (folder / f"{c:02d}").mkdir(parents=True)
        for k in range(n):
            Image.new("L", (side, side), 10 * c).save(folder / f"{c:02d}" / f"{k}.png")


BAD = {
    "empty": ("no images", lambda d: d.mkdir()),
    "other classes": ("labels are 0 to 4, but the model has 10 classes", lambda d: images(d, 5)),
    "more classes": ("labels are 0 to 11, but the model has 10 classes", lambda d: images(d, 12)),
    "smaller": ("smaller than the 8×8", lambda d: images(d, side=4)),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_data_is_one_line_before_the_first_epoch(call, small, tmp_path, kind):
    message, make = BAD[kind]
    make(tmp_path / "data")
    refused(call, small, tmp_path, message)


def test_an_unreadable_image_is_named(call, small, tmp_path):
    images(tmp_path / "data")
    (tmp_path / "data" / "07" / "1.png").write_bytes(b"no image")
    refused(call, small, tmp_path, "07/1.png cannot be read as an image")


def test_an_unreadable_image_is_found_also_where_not_all_fit_in_memory(
    call, small, tmp_path, monkeypatch
):
    from reprune_onnx.training import examples

    monkeypatch.setattr(examples, "MEMORY", 100)
    images(tmp_path / "data")
    out = tmp_path / "good.onnx"
    how = ("--epochs", "1", "--batch-size", "4")
    assert call("finetune", small, "--data", tmp_path / "data", "-o", out, *how).code == 0
    (tmp_path / "data" / "07" / "1.png").write_bytes(b"no image")
    refused(call, small, tmp_path, "07/1.png cannot be read as an image")


def test_no_labels_and_no_original_is_refused(call, small, digits, tmp_path):
    with np.load(digits) as arrays:
        np.savez(tmp_path / "unlabelled.npz", x=arrays["x_train"])
    result = call(
        *("finetune", small, "--data", tmp_path / "unlabelled.npz", "--distill", "none"),
        *("-o", tmp_path / "out.onnx"),
    )
    assert result.code == 1
    assert "has no labels: give labelled images, or the original with --distill" in result.err


def refused(call, small, tmp_path, message) -> None:
    out = tmp_path / "out.onnx"
    result = call("finetune", small, "--data", tmp_path / "data", "-o", out)
    assert result.code == 1
    (line,) = result.err.splitlines()
    assert message in line
    assert "epoch" not in result.out
    assert not list(tmp_path.glob("out*"))


def test_without_the_extra_one_line_says_what_to_install(run_cli, small, digits, tmp_path, root):
    (tmp_path / "lightning_fabric.py").touch()
    code = (
        "import importlib.util as u\n"
        "find = u.find_spec\n"
        "u.find_spec = lambda n, *a: None if n in ('torch', 'lightning_fabric') else find(n, *a)\n"
    )
    (tmp_path / "sitecustomize.py").write_text(code)
    api = "import reprune_onnx as rp\nrp.finetune"
    done = subprocess.run(
        [sys.executable, "-c", api],
        env={**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{tmp_path}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.splitlines()[-1].endswith("pip install 'reprune-onnx[torch]'")
    for command, more in (("finetune", ()), ("train", ("--sparsity", "0.5"))):
        out = tmp_path / "out.onnx"
        result = run_cli(
            command, small, "--data", digits, "-o", out, *more, env={"PYTHONPATH": str(tmp_path)}
        )
        assert result.returncode == 1
        (line,) = result.stderr.splitlines()
        assert line == (
            f"reprune-onnx: {command} needs torch and lightning_fabric:"
            " pip install 'reprune-onnx[torch]'"
        )
    how = ("--sparsity", "0.5", "--calibration", "generated:refined:8")
    result = run_cli("prune", small, "-o", out, *how, env={"PYTHONPATH": str(tmp_path)})
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("reprune-onnx: --calibration generated:refined needs torch and")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--lr", "0"), "--lr must be above 0"),
        (("--lr", "fast"), "--lr 'fast' is neither a number above 0 nor auto"),
        (("--loss", "own:loss"), "with a --loss of your own, --data and --val are functions"),
        (("--loss", "hinge"), "--loss 'hinge' is neither MODULE:FUNCTION nor a loss of --task"),
        (("--task", "regression", "--loss", "bce"), "which has mse, l1, smooth-l1"),
        (("--epochs", "0"), "--epochs must be at least 1"),
        (("--ema", "1"), "--ema 1.0 is outside [0, 1)"),
        (("--milestones", "a"), "--milestones 'a' is not numbers"),
        (("--accelerator", "abacus"), "--accelerator abacus"),
    ],
)
def test_options_out_of_range_are_usage(call, small, digits, tmp_path, option, message):
    out = tmp_path / "out.onnx"
    result = call("finetune", small, "--data", digits, "-o", out, *option)
    assert result.code == 2
    (line,) = result.err.splitlines()
    assert message in line


def test_an_op_that_the_bridge_lacks_is_named_before_anything_is_trained(
    call, small, digits, tmp_path
):
    proto = onnx.load(small)
    last = proto.graph.output[0].name
    shape = onnx.numpy_helper.from_array(np.array([-1, 1, 1]), "matrix")
    proto.graph.initializer.append(shape)
    proto.graph.node.extend(
        [
            onnx.helper.make_node("Reshape", [last, "matrix"], ["m"], name="as_matrices"),
            onnx.helper.make_node("Det", ["m"], ["d"], name="odd"),
        ]
    )
    proto.graph.output.append(onnx.helper.make_tensor_value_info("d", 1, [None]))
    onnx.save(proto, tmp_path / "odd.onnx")
    out = tmp_path / "out.onnx"
    result = call("finetune", tmp_path / "odd.onnx", "--data", digits, *PRE, "-o", out)
    assert result.code == 1
    assert "Det 'odd': the PyTorch bridge has no op Det" in result.err
    assert "epoch" not in result.out
