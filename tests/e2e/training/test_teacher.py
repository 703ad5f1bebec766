"""Who teaches in `finetune`: the unpruned file, without being named, where it helps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from networks import PRE

import reprune_onnx as rp

torch = pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("lightning_fabric", reason="training needs Lightning Fabric")

ONCE = (*PRE, "--epochs", "1", "--lr", "0.01")


def log_of(out: Path) -> Any:
    return json.loads(out.with_suffix(".training.json").read_text())


@pytest.mark.parametrize(
    ("options", "taught"), [((), True), (("--distill", "none"), False), (("--distill", 0), True)]
)
def test_the_report_names_the_teacher(
    call: Any, small: Path, demo: Path, few: Path, tmp_path: Path, options: Any, taught: bool
) -> None:
    out = tmp_path / "out.onnx"
    named = [demo if option == 0 else option for option in options]
    result = call("finetune", small, "--data", few, *ONCE, "-o", out, *named)
    assert result.code == 0, result.err
    assert (f"taught by '{demo}'" in result.out) == (not options)
    assert (log_of(out)["teacher"] is not None) == taught


def test_images_alone_are_enough_then(
    call: Any, small: Path, few: Path, digits: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.onnx"
    result = call("finetune", small, "--data", f"{few}:x,", *ONCE, "-o", out)
    assert result.code == 0, result.err
    assert "val_agreement" in log_of(out)["start"]


def test_an_original_that_is_worse_on_the_labels_does_not_teach(
    call: Any, demo: Path, digits: Path, few: Path, tmp_path: Path
) -> None:
    """The labels have come to mean something else since: here the original knows them all wrong."""
    pruned, out = tmp_path / "p.onnx", tmp_path / "out.onnx"
    proto = onnx.load(demo)
    weight = next(t for t in proto.graph.initializer if t.dims == [10, *t.dims[1:]])
    values = onnx.numpy_helper.to_array(weight)
    weight.CopyFrom(onnx.numpy_helper.from_array(np.roll(values, 1, 0), weight.name))
    onnx.save(proto, tmp_path / "original.onnx")
    rp.save(rp.load(demo), pruned)
    source = {"path": "original.onnx", "sha256": rp.load(tmp_path / "original.onnx").sha256}
    pruned.with_suffix(".report.json").write_text(json.dumps({"source": source}))
    result = call("finetune", pruned, "--data", few, "--val", digits, *ONCE, "-o", out)
    assert result.code == 0, result.err
    assert "the original does not teach: on 597 images" in result.out
    assert log_of(out)["teacher"] is None
    said = call("finetune", pruned, "--data", few, "--val", digits, *ONCE, "-o", out, "-f",
                "--distill", tmp_path / "original.onnx")  # fmt: skip
    assert said.code == 0, said.err
    assert "does not teach" not in said.out
    assert log_of(out)["teacher"]["sha256"] == source["sha256"]


@pytest.mark.parametrize("taught", [True, False])
def test_the_advice_where_nothing_helped_is_not_what_was_done(
    call: Any, demo: Path, few: Path, tmp_path: Path, taught: bool
) -> None:
    """The network is as good as it gets: its own answers are matched, or steps are far too long."""
    how = (f"{few}:x,", "--distill", demo) if taught else (few, "--lr", "30")
    result = call(
        "finetune", demo, "--data", *how, *PRE, "--epochs", "1", "-o", tmp_path / "o.onnx"
    )
    assert result.code == 0, result.err
    line = result.out.splitlines()[-1]
    assert line.startswith("no epoch was better than the file as given")
    assert ("--distill ORIGINAL" in line) == (not taught)


def test_one_image_is_asked_about_once(demo: Path, digits: Path) -> None:
    from reprune_onnx.training.bridge import torch_module
    from reprune_onnx.training.teacher import RememberedAnswers

    with np.load(digits) as arrays:
        x = torch.from_numpy(arrays["x"][:12] / np.float32(16))
    module = torch_module(rp.load(demo))
    asked: list[int] = []
    module.register_forward_pre_hook(lambda _, inputs: asked.append(len(inputs[0])))
    teacher = RememberedAnswers(module)
    first = torch.cat([teacher(x[:8]), teacher(x[8:])])
    assert asked == [8, 4]
    order = torch.tensor([11, 0, 5, 7])
    assert torch.equal(teacher(x[order]), first[order])
    assert asked == [8, 4]
    assert not torch.equal(teacher(x[order] + 1), first[order])
    assert asked == [8, 4, 4]


@pytest.mark.parametrize(
    ("command", "val"),
    [("finetune", "gone.npz"), ("finetune", "gone/"), ("train", "gone.npz"), ("train", "gone.tar")],
)
def test_images_to_measure_on_that_do_not_exist_are_refused_before_training(
    call: Any, demo: Path, few: Path, tmp_path: Path, command: str, val: str
) -> None:
    out = tmp_path / "out.onnx"
    how = ("--sparsity", "0.5", "--epochs", "3") if command == "train" else ()
    result = call(command, demo, "--data", few, "--val", tmp_path / val, *PRE, *how, "-o", out)
    assert (result.code, result.err.count("\n")) == (1, 1)
    assert f"{tmp_path / val}".rstrip("/") in result.err
    assert "does not exist" in result.err
    assert not list(tmp_path.iterdir())
