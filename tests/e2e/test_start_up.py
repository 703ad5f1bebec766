"""Starting up is quick: a command imports what it needs, and never a training framework."""

import json
import os
import subprocess
import sys
import warnings

import pytest
import typer

from reprune_onnx.cli.edge import run

HEAVY = {"torch", "torchvision", "onnxruntime", "matplotlib", "numba", "scipy", "tensorrt"}
TRAINING = {"torch", "torchvision", "tensorrt", "matplotlib"}
NUMBERS = {"onnx", "numpy", "onnx_graphsurgeon"}

# Exits like the command line, and says which top-level packages were imported by then.
PROBE = """
import json, sys
from reprune_onnx.cli import main
try:
    main()
finally:
    packages = sorted({name.partition(".")[0] for name in sys.modules})
    with open(sys.argv_report, "w") as file:
        json.dump(packages, file)
"""


@pytest.fixture
def imported(root, tmp_path):
    """Run a command in a process of its own: the top-level packages that it imported by its end."""

    def imported(*args: object, code: int = 0) -> set[str]:
        listing = tmp_path / "imported.json"
        probe = PROBE.replace("sys.argv_report", repr(str(listing)))
        path = os.pathsep.join(p for p in (str(root), os.environ.get("PYTHONPATH")) if p)
        result = subprocess.run(
            [sys.executable, "-c", probe, *map(str, args)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == code, result.stderr
        assert (result.stderr == "") == (code == 0)
        return set(json.loads(listing.read_text()))

    return imported


@pytest.mark.parametrize(
    "argv",
    [("--help",), ("--version",), ("prune", "--help"), ("verify", "--help")],
    ids=" ".join,
)
def test_help_imports_no_library_of_numbers(imported, argv):
    modules = imported(*argv)
    assert "reprune_onnx" in modules
    assert not modules & {*HEAVY, *NUMBERS, "joblib", "PIL", "rich"}


def test_analyze_runs_no_model_and_clusters_nothing(imported, demo):
    modules = imported("analyze", demo, "--quiet")
    assert "onnx" in modules
    assert not modules & {*TRAINING, "onnx_graphsurgeon", "onnxruntime", "numba"}


def test_a_problem_of_the_request_is_told_before_anything_heavy(imported, demo, tmp_path):
    out = tmp_path / "taken.onnx"
    out.touch()
    modules = imported("prune", demo, "-o", out, "--sparsity", "0.5", code=1)
    assert not modules & {*TRAINING, "onnxruntime", "numba", "onnx_graphsurgeon"}


def test_channels_are_chosen_and_cut_before_a_model_runs(imported, demo, tmp_path):
    how = ("--sparsity", "0.5", "--recover", "none", "--no-verify")
    modules = imported("prune", demo, "-o", tmp_path / "small.onnx", *how)
    assert not modules & {*TRAINING, "onnxruntime", "numba"}


@pytest.mark.parametrize("method", ["reprune", "l1"])
def test_prune_imports_no_training_framework(imported, demo, tmp_path, method):
    modules = imported(
        *("prune", demo, "-o", tmp_path / "small.onnx", "--sparsity", "0.5", "--method", method)
    )
    assert "onnxruntime" in modules
    assert not modules & {*TRAINING, "numba"}, "the demo is too small for numba to be worth it"


def test_evaluate_imports_no_training_framework(imported, demo, digits):
    assert not imported("evaluate", demo, "--data", digits, "--quiet") & TRAINING


def test_the_package_itself_imports_nothing_heavy(root):
    code = "import sys, reprune_onnx; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert not set(result.stdout.split()) & {*HEAVY, *NUMBERS, "typer", "rich"}


def test_a_warning_is_one_line_without_a_place_in_the_code(capsys):
    app = typer.Typer()
    app.command()(lambda: warnings.warn("this takes longer", RuntimeWarning, stacklevel=2))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert run(app, []) == 0
    assert capsys.readouterr().err == "reprune-onnx: this takes longer\n"


def test_the_package_is_the_command_too():
    words = [sys.executable, "-m", "reprune_onnx", "prune", "no.onnx", "--sparsity", "2"]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("reprune-onnx: --sparsity 2 is outside [0, 1)")
