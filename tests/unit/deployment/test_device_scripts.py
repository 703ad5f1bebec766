"""The scripts of a bundle: Python 3.6, POSIX shell, and flags that the release's trtexec has."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reprune_onnx.targets import read_target, target_names

SCRIPTS = ("bundle", "cases", "check", "collect", "facts", "layers", "logs")

# The flags used that a release has; where a target's release is not 8.2, from the same file at tags
# 8.5.3 and v10.3.0: https://github.com/NVIDIA/TensorRT/blob/8.2.1/samples/common/sampleOptions.cpp
COMMON = {
    *("onnx", "saveEngine", "loadEngine", "timingCacheFile", "minShapes", "optShapes", "maxShapes"),
    *("shapes", "loadInputs", "iterations", "duration", "warmUp", "avgRuns", "exportTimes"),
    *("exportOutput", "exportProfile", "fp16", "int8", "noTF32"),
}
FLAGS = {
    "8.2": COMMON | {"workspace", "buildOnly"},
    "8.5": COMMON | {"workspace", "memPoolSize", "buildOnly"},
    "10.3": COMMON | {"memPoolSize", "skipInference"},
}


def installed(program: str) -> str:
    """A program of the extra [dev]."""
    beside = Path(sys.executable).parent / program
    checker = str(beside) if beside.exists() else shutil.which(program)
    assert checker, f"pip install -e '.[dev]' has {program}"
    return checker


@pytest.fixture
def folder(root) -> Path:
    return root / "deploy" / "jetson"


def test_python_3_6_can_read_the_scripts(folder):
    for name in SCRIPTS:
        source = (folder / "scripts" / f"{name}.py").read_text()
        tree = ast.parse(source, feature_version=(3, 6))
        imported = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        assert imported <= set(sys.stdlib_module_names) | set(SCRIPTS)
        assert not any(isinstance(n, ast.ImportFrom) for n in ast.walk(tree))


def test_a_checker_finds_nothing_newer_than_python_3_6(folder, root):
    checker = installed("vermin")
    stand_in = root / "tests" / "e2e" / "device" / "stand_in.py"
    files = [*(folder / "scripts").glob("*.py"), stand_in]
    assert len(files) == len(SCRIPTS) + 1
    for file, code in [*((f, 0) for f in files), (Path(__file__), 1)]:
        command = [checker, "-t=3.6-", "--no-tips", str(file)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == code, result.stdout


def test_a_linter_finds_nothing_in_the_shell_script(folder):
    command = [installed("shellcheck"), "--shell=sh", str(folder / "run.sh")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("name", [n for n in target_names() if n.startswith("jetson")])
def test_every_flag_is_one_that_the_release_has(folder, name):
    target = read_target(name)
    source = (folder / "run.sh").read_text() + (folder / "scripts" / "cases.py").read_text()
    used = set(re.findall(r'--([A-Za-z]\w+)(?==|"| \\)', source)) - {"cores", "show"}
    used |= {f"{which}Shapes" for which in ("min", "opt", "max")}
    used |= {p for p in target.precisions if p != "fp32"}
    assert {"onnx", "exportTimes", "avgRuns"} <= used
    flags_named = {
        re.match(r"--(\w+)", f)[1] for f in (target.build.workspace, target.build.build_only)
    }
    assert used | flags_named <= FLAGS[target.build.tensorrt]
    if target.build.tensorrt == "8.2":
        assert flags_named == {"workspace", "buildOnly"}
