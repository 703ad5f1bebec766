"""`docs/yolo.md`: its commands work as they stand, on a small detector and drawn photographs."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import text_graphs
from PIL import Image

import reprune_onnx as rp

pytest.importorskip("pycocotools", reason="average precision needs pycocotools")

HEAD = '<ir_version: 8, opset_import: ["": 17]> g (float[1,3,32,32] x) => (float[a,b,c] y) '
BODY = """{ s = Mul (x, small) h = Conv <pads = [1,1,1,1]> (s, w) r = Relu (h)
    k = Conv <pads = [1,1,1,1]> (r, u) q = Relu (k) a = Conv <strides = [8,8]> (q, v, bias)
    b = MaxPool <kernel_shape = [2,2], strides = [2,2]> (a) d = Reshape (a, cells)
    c = MaxPool <kernel_shape = [2,2], strides = [2,2]> (b) e = Reshape (b, cells)
    f = Reshape (c, cells) all = Concat <axis = 2> (d, e, f)
    box, logit = Split <axis = 1> (all, parts) p = Sigmoid (logit)
    y = Concat <axis = 1> (box, p) }"""


def detector() -> rp.Model:
    """Three strides, four coordinates and three classes; its boxes mean nothing."""
    rng = np.random.default_rng(3)
    wide = np.array([200] * 4 + [40] * 3).reshape(7, 1, 1, 1)
    weights = {
        "small": np.float32(1 / 255),
        "w": rng.standard_normal((16, 3, 3, 3)),
        "u": rng.standard_normal((16, 16, 3, 3)) / 12,
        "v": rng.standard_normal((7, 16, 8, 8)) / wide,
        "bias": np.array([16.0, 16, 12, 12, 0, 0, 0]),
        "cells": np.array([0, 7, -1]),
        "parts": np.array([4, 3]),
    }
    return rp.Model(text_graphs.model(HEAD + BODY, **weights))


def put_photographs(folder: Path, n: int) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(n)
    for k in range(n):
        small = rng.integers(0, 256, (6, 6, 3)).astype(np.uint8)
        Image.fromarray(small).resize((40, 32), Image.Resampling.BICUBIC).save(folder / f"{k}.png")


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    rp.save(detector(), tmp_path / "yolox_nano.onnx")
    put_photographs(tmp_path / "photos" / "calibrate", 96)
    put_photographs(tmp_path / "photos" / "judge", 20)
    put_photographs(tmp_path / "pictures", 3)
    (tmp_path / "coco.yaml").write_text("names:\n  0: person\n  1: cat\n  2: cup\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_documents_commands_work(call, root, place, monkeypatch, capfd):
    text = (root / "docs" / "yolo.md").read_text(encoding="utf-8")
    shell = "".join(re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    ran = []
    for line in shell.splitlines():
        program, *arguments = shlex.split(line)
        if "openvino" in arguments and find_spec("openvino") is None:
            continue
        if program == "python":
            tool, *rest = arguments
            monkeypatch.setattr(sys, "argv", [tool, *rest])
            runpy.run_path(str(root / tool), run_name="__main__")
            assert "boxes on 3 photographs" in capfd.readouterr().out
        else:
            result = call(*arguments)
            assert result.code == 0, (line, result.err)
        ran.append(arguments[0])
    assert {"analyze", "prune", "evaluate", "bench", "tools/boxes.py"} == set(ran)
    entry = json.loads((place / "small.report.json").read_text())["int8"]
    assert entry["measure"] == "AP against the original"
    scores = {row["model"]: row["score"] for row in entry["rows"]}
    assert scores["float"] > 99 and scores["int8"] > 50
    drawn = np.asarray(Image.open("boxes.png").convert("L"), np.float64)
    assert drawn.std() > 10
    shown = root / "docs" / "examples" / "boxes.png"
    assert np.asarray(Image.open(shown)).std() > 10
