"""`docs/data.md`: its files are made by its own lines, and its commands work as they stand."""

import json
import re
import shlex
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("lightning_fabric", reason="training needs Lightning Fabric")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_documents_commands_work(call, root, tmp_path, monkeypatch):
    text = (root / "docs" / "data.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").symlink_to(root / "models")
    for block in blocks(text, "python"):
        exec(compile(block, "docs/data.md", "exec"), {})
    said = {}
    for line in "".join(blocks(text, "bash")).splitlines():
        program, *arguments = shlex.split(line)
        assert program == "reprune-onnx"
        result = call(*arguments)
        assert result.code == 0, (line, result.err)
        said[line] = result.out
    assert len(said) >= 17
    (sorted_line,) = (line for line in said if line.endswith("--data classes/"))
    assert "0 is '0' and 9 is '9'" in said[sorted_line]
    named, _ = (said[line] for line in said if "names.txt" in line)
    assert "the order is that of --classes 'names.txt'" in named
    (skipped,) = (said[line] for line in said if "--skip-broken" in line)
    assert "1 image is broken and left out" in skipped
    (photos,) = (said[line] for line in said if line.endswith("--data photos/"))
    assert ".jpg: 24×24 to 8×8)" in photos
    (pair,) = (said[line] for line in said if line.endswith("--data pair.npz"))
    assert "200 samples of 'a' (6,) float32, 'b' (3,) float32" in pair
    assert "top-1 100.00 %" in pair
    for name, key, better in (
        ("segmenter", "val_mean_iou", 1),
        ("counter", "val_rmse", -1),
        ("tagger", "val_mean_ap", 1),
    ):
        log = json.loads(Path(f"{name}-tuned.training.json").read_text())
        gain = log["result"]["scores"][key] - log["start"][key]
        assert better * gain > 0, name


def test_every_option_that_the_document_names_is_run_here_or_in_another(root):
    text = (root / "docs" / "data.md").read_text(encoding="utf-8")
    named, run = (
        set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", t))
        for t in (text, "".join(blocks(text, "bash")))
    )
    assert named - run == {"--augment", "--json", "--val"}  # those that other documents run
