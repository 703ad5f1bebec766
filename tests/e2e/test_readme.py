"""What the README shows is what happens: its commands, its printed result, its numbers."""

import os
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def readme(root) -> str:
    return (root / "README.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def as_compared(line: str) -> str:
    """A line that was printed; without small figures, which depend on the order of adding."""
    if line.startswith(("verified on", "recovered by", "note: no image")):
        line = re.sub(r"\b0\.\d+\b|\bby 0\b|\d+e-\d+", "…", line)
    return line.rstrip()


@pytest.fixture
def checkout(check_out, tmp_path) -> Path:
    return check_out(tmp_path / "checkout")


def test_the_first_command_sets_up_and_prunes(readme, checkout, run_outside):
    command = blocks(readme, "sh")[0]
    result = run_outside("bash", "-euo", "pipefail", "-c", command, cwd=checkout, downloads=True)
    assert {"digits-small.onnx", "digits-small.report.json"} <= {p.name for p in checkout.iterdir()}
    printed = [as_compared(line) for line in result.stdout.splitlines()]
    for line in blocks(readme, "text")[0].splitlines():
        assert as_compared(line) in printed
    assert any(line.startswith("verified on 3 inputs") for line in printed)


def test_the_second_command_is_the_one_that_ci_runs(readme, checkout):
    """`.ci/run` takes it from the README; here all but its last lines, which run it, is run."""
    command = blocks(readme, "sh")[1]
    assert "tools/check.py" in command
    script = (checkout / ".ci" / "run").read_text().rstrip("\n").splitlines()
    parts = ['bash -euo pipefail -c "$command"', "bash .ci/training", "bash .ci/compatibility"]
    runs = ["failed=0", *(f"{part} || failed=1" for part in parts), "exit $failed"]
    assert script[-len(runs) :] == runs
    (checkout / ".ci" / "run").write_text("\n".join(script[: -len(runs)]) + "\n")
    result = subprocess.run(
        ["bash", ".ci/run"], cwd=checkout, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == f"+ {command.strip()}"
    assert os.access(checkout / ".ci" / "run", os.X_OK)


def test_the_first_two_commands_need_only_python_and_git(readme):
    for command in blocks(readme, "sh")[:2]:
        assert command.count("\n") == 1
        first, *rest = shlex.split(command)
        assert first == "python3"
        programs = [b for a, b in pairwise(rest) if a == "&&"]
        assert programs
        assert all(p.startswith(".venv/bin/") for p in programs)


def test_the_python_example_runs(readme, checkout, run_outside):
    (code,) = blocks(readme, "python")
    environment = {"PYTHONPATH": str(checkout)}
    result = run_outside(sys.executable, "-W", "error", "-c", code, cwd=checkout, env=environment)
    assert result.returncode == 0, result.stderr
    assert "macs_reduction" in result.stdout
    (saved,) = re.findall(r'rp\.save\(.*"(.*\.onnx)"\)', code)
    assert (checkout / saved).is_file()


def test_the_stated_accuracies_are_the_measured_ones(readme, call, root, tmp_path, monkeypatch):
    """Rows of the form `| original | 99.50 % |`, or the options of `prune` in backticks."""
    monkeypatch.chdir(root)
    rows = re.findall(r"^\| (original|`.+`) \| ([\d.]+ %) \|$", readme, re.MULTILINE)
    assert len(rows) >= 2
    assert rows[0][0] == "original"
    (evaluate,) = re.findall(r"`reprune-onnx (evaluate [^`]+)`", readme)
    command = shlex.split(evaluate)
    for k, (title, percent) in enumerate(rows):
        model = root / "models" / "digits_resnet.onnx"
        if title != "original":
            out = tmp_path / f"small{k}.onnx"
            options = shlex.split(title.strip("`"))
            assert call("prune", model, *options, "-o", out).code == 0
            model = out
        result = call(command[0], model, *command[2:])
        assert result.code == 0, result.err
        assert f"top-1 {percent}" in result.out, title


@pytest.mark.parametrize(
    "name",
    [
        *("README.md", "models/README.md", "docs/method.md", "docs/accuracy.md", "docs/bench.md"),
        "docs/data.md",
        *("docs/deploy.md", "docs/speed.md", "docs/training.md"),
    ],
)
def test_links_lead_somewhere(root, name):
    text = (root / name).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if not target.startswith(("http:", "https:")):
            assert ((root / name).parent / target).exists(), target


def test_it_says_what_the_tool_does_not_do(readme):
    assert re.search(r"^## What it does not do yet$", readme, re.MULTILINE)
