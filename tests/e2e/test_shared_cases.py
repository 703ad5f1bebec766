"""The small files of ../shared/cases, of kinds that real files were refused for: one row for each.

What is right for a kind stands in the folder's README. A row is what a file's layers keep at half
their channels, or the words of its refusal.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

HALF = ("--sparsity", "0.5", "--allocation", "uniform", "--recover", "none", "--residual", "prune")
SIZES = ("--input-shape", "x=4,512")
KEPT: dict[str, tuple[tuple[str, ...], list[list[int]]]] = {
    "unsorted": ((), [[32, 16], [8, 8]]),
    "lengths": ((), [[24, 12], [32, 16], [16, 8], [5, 5]]),
    "sliced_sigmoid": ((), [[24, 12], [32, 16], [10, 10]]),
    "fixed_inside": ((), [[24, 12], [32, 16], [7, 7]]),
    "shared_symbol": (SIZES, [[24, 12], [16, 8], [8, 8]]),
    "product_of_extents": ((), [[24, 12], [32, 16], [7, 7]]),
    "into_lstm": ((), [[24, 12], [32, 16], [16, 8], [8, 4], [5, 5]]),
    "no_conv": ((), [[48, 24], [32, 16], [5, 5]]),
    "convs_in_if": ((), [[24, 12], [4, 4], [24, 12], [4, 4]]),
    "twins_identity": ((), [[16, 8], [8, 8], [16, 8], [8, 8]]),
    "twins_byname": ((), [[16, 8], [8, 8], [16, 8], [8, 8]]),
    "global_context": ((), [[16, 8], [1, 1], [5, 5]]),
    "attention_1head": ((), [[12, 6], [8, 4], [8, 4], [8, 4], [5, 5]]),
    "roialign": ((), [[16, 8], [5, 5]]),
    "zeros_in_concat": ((), [[8, 4], [8, 4], [4, 4]]),
    "xcorr": ((), [[8, 4], [8, 4], [4, 4]]),
}
"""The options that a file needs, and what each layer has before and after."""

REFUSED = {"custom_quant": "made by nodes of the domain 'onnx.brevitas', such as Quant"}
PROVEN = "a deliberately wrong cut differs by"
SAID = {
    "unsorted": "OUT holds all nodes in order",
    "fixed_inside": "x = 1×3×48×320 fits",
    "convs_in_if": "2 branches of If hold layers",
}
"""Words of a note that such a file needs."""


@pytest.fixture(scope="module")
def cases(shared, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cases")
    for script in ("make_cases.py", "more_cases.py"):
        subprocess.run([sys.executable, shared / "cases" / script, folder], check=True)
    return folder


def test_every_file_has_a_row(cases):
    assert {p.stem for p in cases.glob("*.onnx")} == KEPT.keys() | REFUSED.keys()


@pytest.mark.parametrize("name", KEPT)
def test_it_is_pruned_and_proven(name, call, cases, tmp_path):
    options, widths = KEPT[name]
    source, out = cases / f"{name}.onnx", tmp_path / "small.onnx"
    result = call("prune", source, "-o", out, *HALF, *options)
    assert result.code == 0, result.err
    report = json.loads((tmp_path / "small.report.json").read_text())
    assert [layer["out_channels"] for layer in report["layers"]] == widths
    proof = report["verification"]
    assert proof["passed"]
    assert proof["max_abs_diff"] <= proof["tolerance"] * proof["scale"]
    assert proof["negative_control"] > 10 * proof["tolerance"] * proof["scale"]
    notes = " | ".join(report["notes"])
    assert all((words in notes) is (kind == name) for kind, words in SAID.items())
    result = call("verify", source, out)
    assert result.code == 0, result.err
    assert PROVEN in result.out


@pytest.mark.parametrize("name", ["no_conv", "xcorr", "twins_identity"])
def test_a_changed_weight_is_not_proven(name, call, cases, tmp_path):
    """The control: the same file, with one weight that is not the original's."""
    source, out = cases / f"{name}.onnx", tmp_path / "small.onnx"
    assert call("prune", source, "-o", out, *HALF).code == 0
    proto = onnx.load(out)
    weight = next(t for t in proto.graph.initializer if t.data_type == 1 and len(t.dims) > 1)
    changed = numpy_helper.to_array(weight)[::-1].copy()
    weight.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(changed[:, ::-1]), weight.name))
    onnx.save(proto, out)
    result = call("verify", source, out)
    assert PROVEN not in result.out, result.out


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_for_what_it_is(name, refuses, cases):
    refuses("prune", cases / f"{name}.onnx", *HALF, says=(REFUSED[name],))
    refuses("analyze", cases / f"{name}.onnx", says=(REFUSED[name],))


def test_copies_by_identity_are_one_weight(call, cases, tmp_path):
    """1584 → 792 parameters, as with one name, and one tensor left of each."""
    for name in ("twins_identity", "twins_byname"):
        out = tmp_path / f"{name}.onnx"
        assert call("prune", cases / f"{name}.onnx", "-o", out, *HALF).code == 0
        report = json.loads((tmp_path / f"{name}.report.json").read_text())
        assert (report["before"]["params"], report["after"]["params"]) == (1584, 792)
        floats = [t.name for t in onnx.load(out).graph.initializer if t.data_type == 1]
        assert sorted(floats) == ["v", "w"]
