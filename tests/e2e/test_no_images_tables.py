"""The tables of docs/accuracy.md without images, on the demo network; the long form takes hours."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tool(call, demo, digits, tmp_path, monkeypatch):
    """The modules of the tool; its commands run in this process, and their words are kept."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    no_images = importlib.import_module("no_images")
    ablation = importlib.import_module("no_images_ablation")
    for folder in ("models", "data"):
        (tmp_path / "shared" / folder).mkdir(parents=True)
    (tmp_path / "shared" / "models" / "demo.onnx").write_bytes(demo.read_bytes())
    with np.load(digits) as arrays:
        few = {f"{a}_train": arrays[f"{a}_train"][:120] for a in "xy"}
        few |= {f"{a}_test": arrays[a][:200] for a in "xy"}
    np.savez(tmp_path / "shared" / "data" / "digits.npz", **few)
    said = []

    def inside(*words):
        result = call(*words)
        assert result.code == 0, result.err
        said.append(list(map(str, words)))
        return result.out, 1.25

    demo_network = no_images.Bare("demo", (0.5,), 120, "scale=1/16", "digits.npz", n=24)
    monkeypatch.setattr(no_images, "call", inside)
    monkeypatch.setattr(importlib.import_module("network"), "SHARED", tmp_path / "shared")
    monkeypatch.setitem(no_images.NETWORKS, "demo", demo_network)
    yield no_images, ablation, said
    for name in ("no_images", "no_images_ablation", "network", "sample", "timed"):
        sys.modules.pop(name, None)


@pytest.fixture
def table_with_images(tool, monkeypatch):
    """The table of criterion by allocation by recovery."""
    accuracy = importlib.import_module("accuracy")
    monkeypatch.setattr(accuracy, "onnxsim_rows", lambda *_: iter(()))
    yield accuracy
    sys.modules.pop("accuracy", None)


def test_the_table_of_criteria(table_with_images, tmp_path):
    accuracy = table_with_images
    ways = accuracy.FINER | {"method": ("l1", "reconstruction"), "allocation": ("uniform",)}
    demo = accuracy.Tried("demo", (0.3, 0.5), 120, "scale=1/16", "digits.npz", ways=ways)
    text = accuracy.measure(demo, tmp_path / "table", jobs=1)
    before, rows = text.split(" % on 200 images before pruning")
    assert float(before.removeprefix("demo: ")) > 90
    top1 = {
        cells_of(line)[0]: cells_of(line)[2:] for line in rows.splitlines() if "uniform" in line
    }
    assert set(top1) == {"l1", "reconstruction"}
    for none, refitted in top1.values():
        cut, repaired = ([float(x.strip("*")) for x in c.split(" / ")] for c in (none, refitted))
        assert len(cut) == len(repaired) == 2
        assert sum(repaired) > sum(cut)
    assert sum(cell.count("**") for cells in top1.values() for cell in cells) >= 4, "both best"


def cells_of(row):
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_three_ways_of_each_row(tool, tmp_path):
    no_images, _, said = tool
    place = no_images.Place(tmp_path)
    _, _, row = no_images.table(place, ["demo"])
    cells = cells_of(row)
    tops = [float(cell) for cell in cells[2:5]]
    assert tops[0] < tops[1]
    assert int(cells[5].rstrip("%")) == round(100 * (tops[1] - tops[0]) / (tops[2] - tops[0]))
    assert cells[7] == "1 s"
    assert [words[0] for words in said] == ["evaluate", *["prune", "evaluate"] * 3]
    bare = next(words for words in said if words[0] == "prune")
    assert "--calibration" not in bare and "--recover" not in bare
    assert list(no_images.table(place, ["demo"]))[2] == row
    assert len(said) == 7  # nothing ran again


def test_agreement_where_the_classes_are_others(tool, tmp_path, monkeypatch):
    no_images, _, said = tool
    by_agreement = no_images.Bare("demo", (0.5,), 120, "scale=1/16", "digits.npz", agreement=True)
    monkeypatch.setitem(no_images.NETWORKS, "demo", by_agreement)
    row = no_images.Place(tmp_path).by_file("demo", 0.5)
    assert 0 < row["top1"] <= 100
    assert "--against" in said[-1]


def test_rows_without_a_file_are_left_out(tool, tmp_path):
    no_images, _, said = tool
    assert len(list(no_images.table(no_images.Place(tmp_path), ["efficientnet-lite1"]))) == 2
    assert said == []


def test_each_part_of_generated_images(tool, tmp_path):
    pytest.importorskip("torch", reason="a row is of refined images")
    pytest.importorskip("lightning_fabric", reason="the extra has it")
    no_images, ablation, _ = tool
    _, _, *rows = ablation.table(no_images.Place(tmp_path), ["demo", "efficientnet-lite1"])
    kinds = {tuple(cells_of(row)[:2]): float(cells_of(row)[2]) for row in rows}
    assert len(kinds) == 10
    assert kinds["own images", "given"] > kinds["none (`--recover data-free`)", ""]
