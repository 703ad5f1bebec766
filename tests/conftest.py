"""What the end-to-end tests share: the command line in two forms, and the optional real files."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest

ROOT = Path(__file__).resolve().parent.parent
NO_REGISTRY = (
    "No matching distribution",
    "Could not find a version",
    "Failed to establish a new connection",
    "Temporary failure in name resolution",
    "ProxyError",
    "Max retries exceeded",
)
collect_ignore_glob = ["*/conftest.py", "unit/library/*_script.py"]  # hold no doctests
sys.path.insert(0, str(ROOT / "tests"))  # the transcription of Algorithm 1, for whoever compares


@dataclass(frozen=True)
class Called:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Names with an address differ from process to process, which several cannot share out."""
    named = [item.nodeid for item in items if " at 0x" in item.nodeid]
    if named:
        raise pytest.UsageError(f"give ids to the parameters of {named[0]}")


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


@pytest.fixture
def model(demo: Path, tmp_path: Path) -> Path:
    """A copy of the demo model, in a folder of its own."""
    return Path(shutil.copy(demo, tmp_path / "model.onnx"))


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


@pytest.fixture(scope="session")
def command_line() -> Callable[..., object]:
    """The command made of the list of commands; to make it takes longer than many calls do."""
    import typer

    from reprune_onnx.cli.app import app

    return typer.main.get_command(app)


@pytest.fixture
def call(capfd, command_line) -> Callable[..., Called]:
    """Run the command line inside this process: quick, for the many cases that end early."""
    from reprune_onnx.cli.edge import run

    def call(*args: object) -> Called:
        capfd.readouterr()
        code = run(command_line, [str(a) for a in args])
        out, err = capfd.readouterr()
        return Called(code, out, err)

    return call


@pytest.fixture
def prune(call, model, tmp_path):
    """Prune the demo model with some options: the report, and the path of the pruned file.

    Where no option is about recovery or images, none are made by formula: that takes seconds.
    """

    def prune(*options: object, name: str = "small") -> tuple[dict, Path]:
        out = tmp_path / f"{name}.onnx"
        unrepaired = not {"--recover", "--calibration"} & {str(option) for option in options}
        quick = ("--recover", "data-free") if unrepaired else ()
        result = call("prune", model, "-o", out, *options, *quick)
        assert result.code == 0, result.err
        assert result.err == ""
        return json.loads((tmp_path / f"{name}.report.json").read_text()), out

    return prune


def everything(folder: Path) -> dict[str, bytes | None]:
    """Every file below ``folder`` with its bytes, and every folder."""
    files = sorted(folder.rglob("*"))
    return {str(p): p.read_bytes() if p.is_file() else None for p in files}


@pytest.fixture
def refuses(call, tmp_path) -> Callable[..., str]:
    """Call a command that must fail: one clear line and exit 1 (2 for usage), which it returns.

    There may be no traceback, and no file may be written.
    """

    def refuses(*args: object, says: tuple[str, ...] = (), code: int = 1) -> str:
        before = everything(tmp_path)
        result = call(*args)
        assert "Traceback" not in result.err
        assert result.code == code, result.err
        assert everything(tmp_path) == before
        lines = result.err.splitlines()
        assert len(lines) == 1, result.err
        assert lines[0].startswith("reprune-onnx: ")
        for part in says:
            assert part in lines[0]
        assert result.out == ""
        return lines[0]

    return refuses


@pytest.fixture
def pair(call, model, tmp_path) -> tuple[Path, Path]:
    """A model and what pruning made of it; the report lies beside the latter."""
    pruned = tmp_path / "small.onnx"
    half = ("--sparsity", "0.5", "--method", "l1", "--allocation", "uniform", "--recover", "none")
    assert call("prune", model, "-o", pruned, *half).code == 0
    return model, pruned


@pytest.fixture
def external(demo, tmp_path) -> Path:
    """The demo model with its weights beside it."""
    folder = tmp_path / "external"
    folder.mkdir()
    path = folder / "model.onnx"
    onnx.save_model(
        onnx.load(demo), path, save_as_external_data=True, location="w.data", size_threshold=0
    )
    return path


@pytest.fixture(scope="session")
def run_outside() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a program in an environment without anything that points into the source tree.

    What ``downloads`` must succeed, and the test is skipped where pip reaches no registry. ``env``
    adds to the environment.
    """
    inherited = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONSTARTUP")
    clean = {k: v for k, v in os.environ.items() if k not in inherited}

    def run(
        *args: object, cwd: Path, env: dict[str, str] | None = None, downloads: bool = False
    ) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(
            [str(a) for a in args],
            cwd=cwd,
            env={**clean, **(env or {})},
            capture_output=True,
            text=True,
            check=False,
        )
        said = result.stdout + result.stderr
        if downloads and result.returncode:
            if any(sign in said for sign in NO_REGISTRY):
                pytest.skip(f"pip reaches no package registry: {said.strip().splitlines()[-1]}")
            pytest.fail(said)
        return result

    return run


@pytest.fixture(scope="session")
def check_out(root: Path, run_outside) -> Callable[[Path], Path]:
    """Copy the repository: what git would give, with the working tree's content."""

    def check_out(folder: Path) -> Path:
        listing = run_outside(
            *("git", "ls-files", "--cached", "--others", "--exclude-standard"), cwd=root
        )
        assert listing.returncode == 0, listing.stderr
        for name in listing.stdout.splitlines():
            if (root / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(root / name, folder / name)
        return folder

    return check_out
