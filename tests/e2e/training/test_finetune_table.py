"""The tool that makes the table of docs/training.md, on the demo network and few images."""

import importlib.util
import re
import shutil
import sys

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("lightning_fabric", reason="training needs Lightning Fabric")


@pytest.fixture
def tool(root):
    """The tool as a module."""
    path = root / "tools" / "finetune_table.py"
    spec = importlib.util.spec_from_file_location("finetune_table", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_rows_are_what_the_commands_print(tool, call, demo, digits, tmp_path, monkeypatch):
    """In this process the same commands run, which is quicker; their words are kept."""
    said = []

    def inside(*words):
        result = call(*words)
        assert result.code == 0, result.err
        said.append((list(map(str, words)), result.out))
        return result.out, 1.25

    monkeypatch.setattr(tool, "call", inside)
    shutil.copy(demo, tmp_path / tool.FILES["folded"])
    with np.load(digits) as arrays:
        few = {f"{a}_train": arrays[f"{a}_train"][:300] for a in "xy"}
        few |= {f"{a}_test": arrays[a][:300] for a in "xy"}
    np.savez(tmp_path / "few.npz", **few)
    place = ("--models", tmp_path, "--data", tmp_path / "few.npz", "--preprocess", "scale=1/16")
    how = ("--rows", "folded", "--images", "60", "--macs-reduction", "0.8", "--epochs", "1")
    how += ("--recover", "none")  # so that an epoch makes it better, and the result is measured
    monkeypatch.setattr(sys, "argv", ["finetune_table.py", *map(str, (*place, *how))])
    printed = []
    monkeypatch.setattr(tool, "print", lambda line, **_: printed.append(line), raising=False)
    tool.main()
    heads, _, labelled, bare, machine = "\n".join(printed).strip().replace("\n\n", "\n").split("\n")
    assert [cell.strip() for cell in heads.strip("|").split("|")] == list(tool.HEADS)
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in (labelled, bare)]
    assert [row[:2] for row in rows] == [["folded", "labels"], ["folded", "none"]]
    assert [words[0] for words, _ in said] == ["prune", "evaluate", *["finetune", "evaluate"] * 2]
    before, *after = (
        re.search(r'"top1": ([\d.]+)', out)[1] for words, out in said if words[0] == "evaluate"
    )
    assert [row[3:5] for row in rows] == [
        [f"{float(before):.2f} %", f"{float(value):.2f} %"] for value in after
    ]
    assert all(
        f"learning rate {row[2]}:" in said[k][1] for row, k in zip(rows, (2, 4), strict=True)
    )
    assert "torch 2" in machine and "onnxruntime 1" in machine


def test_a_command_is_timed_and_a_failure_ends_the_tool(tool):
    printed, seconds = tool.call("targets")
    assert "jetson-tx2" in printed and 0.05 < seconds < 60
    with pytest.raises(SystemExit, match="no-such"):
        tool.call("analyze", "no-such.onnx")
