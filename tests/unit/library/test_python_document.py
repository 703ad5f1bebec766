"""The code of docs/python.md runs, block after block, as it stands."""

from __future__ import annotations

import re
import shutil

import numpy as np


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
