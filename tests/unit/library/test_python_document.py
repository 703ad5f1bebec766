"""The code of docs/python.md and docs/training.md runs, block after block, as it stands."""

from __future__ import annotations

import json
import re
import shutil
from typing import Any

import numpy as np
import pytest

import reprune_onnx as rp


def test_every_block_runs(root, demo, digits, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(demo, "model.onnx")
    np.savez("images.npz", x=np.load(digits)["x_train"][:96])
    text = (root / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 10
    names: dict[str, object] = {"__name__": "docs"}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    printed = capsys.readouterr().out
    for line in re.findall(r"  # (.+)$", text, re.MULTILINE):
        assert line in printed
    assert "docs.largest" in printed and (tmp_path / "sweep" / "sweep.md").is_file()


def test_every_block_about_training_runs(root, demo, digits, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch", reason="training needs PyTorch")
    pytest.importorskip("lightning_fabric", reason="training needs Lightning Fabric")
    for name in ("_STEPS", "_TRIALS"):  # how the rate is found is no matter here
        monkeypatch.setattr(f"reprune_onnx.training.rate.{name}", 1)
    monkeypatch.chdir(tmp_path)
    shutil.copy(demo, "model.onnx")
    pruned = rp.prune("model.onnx", rp.Settings(sparsity=0.5, recover="none"))
    rp.save(pruned.model, "model-pruned.onnx")
    (tmp_path / "model-pruned.report.json").write_text(json.dumps(pruned.report))
    with np.load(digits) as arrays:
        np.savez("images.npz", x=arrays["x_train"][:40], y=arrays["y_train"][:40])
    text = (root / "docs" / "training.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    names: dict[str, Any] = {"net": rp.torch_module(rp.load(demo))}
    for block in blocks:
        exec(compile(block, "docs/training.md", "exec"), names)
    assert [len(names[made].log["epochs"]) for made in ("tuned", "trained")] == [3, 3]
    assert {"tuned.onnx", "trained.onnx"} <= {path.name for path in tmp_path.iterdir()}
    module = rp.torch_module(pruned.model)
    module.load_state_dict(names["narrow"])
    assert torch.isfinite(module(torch.zeros(1, 1, 8, 8))).all()
