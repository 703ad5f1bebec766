"""docs/report.md names every field that a report has, and none that it has not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "report.md"
ROWS = re.findall(r"^\| (`.+?) \| (.+) \|$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
REFINED = ":refined" if find_spec("torch") else ""
OPEN = (
    *("settings", "requested", "seconds", "latency", "drop", "rounding.unrounded", "error"),
    "int8.errors",
)
"""Fields whose own names are options, stages or layers; the table says what they are."""


def documented() -> dict[str, str]:
    """The text of each field's row, by its path."""
    return {field: text for cell, text in ROWS for field in re.findall(r"`([^`]+)`", cell)}


def fields(value: object, path: str = "") -> Iterator[str]:
    """The paths of all fields, `[]` standing for any element."""
    if isinstance(value, dict) and not path.startswith(OPEN):
        for key, inner in value.items():
            yield from fields(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for inner in value:
            yield from fields(inner, f"{path}[]")
    elif path:
        yield path


def is_named(path: str, table: dict[str, str]) -> bool:
    """Whether it has a row, or the row of what holds it names it."""
    if path in table or path.removesuffix("[]") in table or f"{path}[]" in table:
        return True
    above, _, name = path.rpartition(".")
    return above in table and f"`{name}`" in table[above]


@pytest.fixture(scope="module")
def options(tmp_path_factory) -> list[tuple[str, ...]]:
    table = tmp_path_factory.mktemp("times") / "times.json"
    layer = {"layer": "/stage3/block1/conv1/Conv", "rows": 48, "columns": 32, "ms": 1.0}
    table.write_text(json.dumps({"layers": [layer]}))
    return [
        ("--sparsity", "0.55"),
        ("--macs-reduction", "0.2", "--include", "*stage*", "--target", "cpu"),
        ("--sparsity", "0", "--layer", "*stage1/*/conv1*=5"),
        ("--sparsity", "0.5", "--calibration", f"generated{REFINED}:16"),
        ("--sparsity", "0.5", "--calibration", "generated:32", "--then", "int8"),
        ("--latency-reduction", "0.3", "--latency-table", str(table), "--no-verify"),
    ]


def test_every_field_is_documented(prune, options):
    table = documented()
    written: set[str] = set()
    for k, how in enumerate(options):
        report, _ = prune(*how, name=f"small{k}")
        written |= set(fields(report))
    assert len(written) > 60
    assert [path for path in sorted(written) if not is_named(path, table)] == []
    tops = {path.partition(".")[0].removesuffix("[]") for path in written}
    named = {path.partition(".")[0].removesuffix("[]") for path in table}
    assert named == tops


def test_a_field_without_a_row_is_seen():
    """The control."""
    table = documented()
    assert not is_named("layers[].colour", table)
    assert not is_named("news", table)
    assert is_named("layers[].stays", table) and is_named("missed.next_step", table)
    assert list(fields({"a": [{"b": 1}, {"c": {"d": 2}}]})) == ["a[].b", "a[].c.d"]
