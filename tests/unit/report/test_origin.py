"""The unpruned model is the file that the report names, and only that file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import reprune_onnx as rp
from reprune_onnx.report.origin import origin_of


def beside(model: Path, ending: str, content: object) -> None:
    model.with_name(f"{model.stem}{ending}").write_text(json.dumps(content))


@pytest.fixture
def original(tmp_path: Path, demo: Path) -> dict[str, str]:
    (tmp_path / "in").mkdir()
    path = Path(shutil.copy(demo, tmp_path / "in" / "net.onnx"))
    return {"path": str(path), "sha256": rp.load(path).sha256}


def test_a_report_or_a_log_names_it(tmp_path: Path, original: dict[str, str]) -> None:
    pruned = tmp_path / "p.onnx"
    assert origin_of(pruned) is None
    beside(pruned, ".training.json", {"teacher": original, "source": {"path": "x", "sha256": ""}})
    origin = origin_of(pruned)
    assert origin is not None
    assert origin.told_by.name == "p.training.json"
    beside(pruned, ".report.json", {"source": original})
    origin = origin_of(pruned)
    assert origin is not None
    assert (origin.told_by.name, str(origin.model.path)) == ("p.report.json", original["path"])


@pytest.mark.parametrize("named", ["in/net.onnx", "elsewhere/before/p/in/net.onnx"])
def test_it_is_looked_for_beside_the_pruned_file_too(
    tmp_path: Path, original: dict[str, str], named: str
) -> None:
    """The folder was moved, or the command ran in another one."""
    pruned = tmp_path / ("in/p.onnx" if named.startswith("elsewhere") else "p.onnx")
    beside(pruned, ".report.json", {"source": {**original, "path": named}})
    origin = origin_of(pruned)
    assert origin is not None
    assert origin.model.sha256 == original["sha256"]


BROKEN: list[Any] = [
    None,
    [],
    {},
    {"source": None},
    {"source": {"path": None, "sha256": "x"}},
    {"source": {"path": "in/net.onnx"}},
    {"source": {"path": "in", "sha256": ""}},
    {"source": {"path": "", "sha256": ""}},
    {"source": {"path": "p.report.json", "sha256": ""}},
    {"source": {"path": "in/net.onnx", "sha256": "0" * 64}},
]


@pytest.mark.parametrize("report", BROKEN)
def test_what_names_no_file_as_it_was_counts_for_nothing(
    tmp_path: Path, original: dict[str, str], report: Any
) -> None:
    beside(tmp_path / "p.onnx", ".report.json", report)
    assert origin_of(tmp_path / "p.onnx") is None
