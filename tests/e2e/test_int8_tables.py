"""The tools behind the tables of int8 and of detectors, in short form, on the real networks."""

from __future__ import annotations

import runpy
import sys

import pytest


def run(root, monkeypatch, tool: str, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", [tool, *map(str, arguments)])
    monkeypatch.setattr(sys, "path", [*sys.path])
    runpy.run_path(str(root / "tools" / tool), run_name="__main__")


def cells(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.usefixtures("shared")
def test_int8_costs_a_network_a_point_at_most_beside_pruning(root, tmp_path, monkeypatch):
    how = ("--only", "resnet20", "--images", 96, "--reductions", 0.3, "--seconds", 0.3)
    run(root, monkeypatch, "int8_table.py", "-o", tmp_path, *how)
    rows = {row[1]: row for row in cells((tmp_path / "resnet20.md").read_text("utf-8"))}
    top1 = {name: float(row[2]) for name, row in rows.items()}
    size = {name: int(row[3].replace(",", "")) for name, row in rows.items()}
    assert top1["float"] == pytest.approx(91.63, abs=0.01)
    assert top1["pruned int8"] >= top1["pruned"] - 1
    assert top1["int8"] >= top1["float"] - 1
    assert size["pruned int8"] < size["int8"] < size["pruned"] < size["float"]


@pytest.mark.usefixtures("shared")
def test_a_file_in_qdq_form_prunes_as_well_as_the_float_file(root, tmp_path, monkeypatch):
    how = ("-o", tmp_path, "--only", "qdq", "--images", 240, "--reductions", 0.3)
    run(root, monkeypatch, "int8_table.py", *how)
    rows = {row[0]: row for row in cells((tmp_path / "qdq.md").read_text("utf-8"))}
    assert float(rows["QDQ"][1]) > 90 and float(rows["float"][1]) > 91
    assert float(rows["QDQ"][2]) >= float(rows["float"][2]) - 1


@pytest.mark.usefixtures("shared")
def test_a_detector_is_compared_with_itself_before(root, tmp_path, monkeypatch):
    pytest.importorskip("pycocotools", reason="average precision needs pycocotools")
    how = ("-o", tmp_path, "--only", "rfb320", "--ways", 5, "--judged", 24)
    run(root, monkeypatch, "detectors.py", *how)
    text = (tmp_path / "rfb320.md").read_text("utf-8")
    assert "on 24 images, with " in text
    (row,) = cells(text)
    assert row[0].startswith("smallest") and len(row) == 5
