"""What the end-to-end tests share: the command line in two forms, and the optional real files."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))  # the transcription of Algorithm 1, for whoever compares


@dataclass(frozen=True)
class Called:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real models and data, which lies beside the repository where there is one."""
    folder = ROOT.parent / "shared"
    if not (folder / "models").is_dir():
        pytest.skip("the real models of ../shared are not here")
    return folder


@pytest.fixture(scope="session")
def demo() -> Path:
    return ROOT / "models" / "digits_resnet.onnx"


@pytest.fixture(scope="session")
def digits() -> Path:
    return ROOT / "models" / "digits.npz"


@pytest.fixture(scope="session")
def run_cli() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line in a process of its own; ``env`` adds to the environment."""

    def run(*args: object, cwd: Path | None = None, env: dict[str, str] | None = None):
        code = "from reprune_onnx.cli import main; main()"
        path = os.pathsep.join(p for p in (str(ROOT), os.environ.get("PYTHONPATH")) if p)
        return subprocess.run(
            [sys.executable, "-c", code, *map(str, args)],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": path, **(env or {})},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def call(capfd) -> Callable[..., Called]:
    """Run the command line inside this process: quick, for the many cases that end early."""
    from reprune_onnx.cli.app import app
    from reprune_onnx.cli.edge import run

    def call(*args: object) -> Called:
        capfd.readouterr()
        code = run(app, [str(a) for a in args])
        out, err = capfd.readouterr()
        return Called(code, out, err)

    return call
