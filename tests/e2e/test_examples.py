"""The worked examples run as they stand, and draw the pictures that the page shows."""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "examples"
SCRIPTS = sorted(p.stem for p in FOLDER.glob("*.py"))
NEAR = 4.0  # gray values, the mean over all pixels: another ONNX Runtime may move a box or a digit
FALLS = 5.0  # points at most that a pruned network of an example loses


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("L"), np.float64)


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """The mean difference of two pictures in gray values; of other sizes the largest there is."""
    return float(np.abs(a - b).mean()) if a.shape == b.shape else 255.0


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_runs_and_draws_the_picture_of_the_page(name, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib", reason="the examples draw with matplotlib")
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setattr(sys, "argv", [name, str(tmp_path)])
    runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    line = capsys.readouterr().out
    reduction, before, after = (float(v) for v in re.findall(r"([\d.]+) ?%", line))
    assert 29 < reduction < 51
    assert before > 70
    assert before - after < FALLS
    drawn, shown = pixels(tmp_path / f"{name}.png"), pixels(FOLDER / f"{name}.png")
    assert difference(drawn, shown) < NEAR
    assert difference(drawn[::-1], shown) > NEAR  # the control
    original = {"classifier": "digits_resnet"}.get(name, f"scenes_{name}")
    sizes = [
        sum(np.prod(t.dims) for t in onnx.load(path).graph.initializer)
        for path in (ROOT / "models" / f"{original}.onnx", tmp_path / f"{name}-pruned.onnx")
    ]
    assert sizes[1] < 0.9 * sizes[0]


def test_the_page_shows_every_script_and_its_picture():
    page = (FOLDER / "index.md").read_text(encoding="utf-8")
    assert len(SCRIPTS) == 3
    for name in SCRIPTS:
        assert f"\n[{name}.py]({name}.py)\n" in page
        assert f"({name}.png)" in page
        assert len((FOLDER / f"{name}.py").read_text(encoding="utf-8").splitlines()) <= 65
