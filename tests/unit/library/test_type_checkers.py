"""A user's script that is right passes mypy strict, and each line of one that is wrong fails."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy", reason="mypy checks the types")
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def errors(root) -> dict[str, list[tuple[int, str]]]:
    """The lines of each script with the codes of their errors; one run reads both."""
    names = ["users_script.py", "wrong_script.py"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", str(root / "pyproject.toml"), *names],
        cwd=HERE,
        env={**os.environ, "MYPY_CACHE_DIR": str(root / ".mypy_cache"), "MYPYPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    lines = re.findall(r"^(\w+\.py):(\d+): error: .*\[([a-z-]+)\]$", done.stdout, re.MULTILINE)
    assert len(lines) == done.stdout.count(": error: "), done.stdout
    return {name: [(int(k), code) for file, k, code in lines if file == name] for name in names}


def test_the_right_script_passes(errors):
    assert errors["users_script.py"] == []


def test_every_wrong_line_fails(errors):
    text = (HERE / "wrong_script.py").read_text(encoding="utf-8")
    expected = [
        (k, line.partition("  # ")[2])
        for k, line in enumerate(text.splitlines(), 1)
        if "  # " in line
    ]
    assert len(expected) == 8
    assert errors["wrong_script.py"] == expected


def test_the_right_script_uses_every_public_name(root):
    import reprune_onnx as rp

    text = (HERE / "users_script.py").read_text(encoding="utf-8")
    apart = {"EngineError", "KernelError", "OutOfReachError", "TrainingError"}  # children of others
    left = {n for n in rp.__all__ if not re.search(rf"\brp\.{n}\b", text)} - apart
    assert left <= {"evaluate_task", "html_report", "TaskEvaluation"}
