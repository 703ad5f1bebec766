"""The built wheel works alone: outside the source tree, in an environment with nothing else."""

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from reprune_onnx import __version__

NO_REGISTRY = (
    "No matching distribution",
    "Could not find a version",
    "Failed to establish a new connection",
    "Temporary failure in name resolution",
    "ProxyError",
    "Max retries exceeded",
)


def clean() -> dict[str, str]:
    """The environment without anything that points into the source tree."""
    own = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONSTARTUP")
    return {k: v for k, v in os.environ.items() if k not in own}


def run(*args: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(a) for a in args], cwd=cwd, env=clean(), capture_output=True, text=True, check=False
    )


def offline(result: subprocess.CompletedProcess[str]) -> None:
    """Skip where pip failed because it reaches no registry; fail where it failed otherwise."""
    if result.returncode == 0:
        return
    text = result.stdout + result.stderr
    if any(sign in text for sign in NO_REGISTRY):
        pytest.skip(f"pip reaches no package registry: {text.strip().splitlines()[-1]}")
    pytest.fail(text)


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory) -> Path:
    """Build from a copy, so that the source tree gets no build folder."""
    folder = tmp_path_factory.mktemp("build")
    listing = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=root)
    assert listing.returncode == 0, listing.stderr
    for name in listing.stdout.splitlines():
        if (root / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, folder / name)
    out = tmp_path_factory.mktemp("wheel")
    if find_spec("build") and find_spec("hatchling"):
        how = ("-m", "build", "--wheel", "--no-isolation", "--outdir", out, folder)
    else:
        how = ("-m", "pip", "wheel", "-q", "--no-deps", "-w", out, folder)
    offline(run(sys.executable, *how, cwd=out))
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_has_the_package_and_no_tests(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert "reprune_onnx" in tops
    assert {t for t in tops if not t.endswith(".dist-info")} == {"reprune_onnx"}
    assert "reprune_onnx/py.typed" in names
    assert any("licenses/LICENSE" in name for name in names)


def test_the_installed_wheel_prunes(wheel, root, demo, tmp_path):
    """In a fresh environment that has the wheel and its dependencies, beside a model."""
    venv.create(tmp_path / "env", with_pip=True, symlinks=True)
    bin_ = tmp_path / "env" / "bin"
    pip = (bin_ / "python", "-m", "pip", "--disable-pip-version-check")
    offline(run(*pip, "install", "-q", wheel, cwd=tmp_path))
    assert run(*pip, "check", cwd=tmp_path).returncode == 0
    shutil.copy(demo, tmp_path / "digits.onnx")

    command = bin_ / "reprune-onnx"
    result = run(command, "prune", "digits.onnx", "--sparsity", "0.55", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert "verified on" in result.stdout
    report = json.loads((tmp_path / "digits-pruned.report.json").read_text())
    assert report["verification"]["passed"]
    assert report["achieved"]["sparsity"] == pytest.approx(106 / 192, abs=1e-6)
    pair = ("digits.onnx", "digits-pruned.onnx")
    assert run(command, "verify", *pair, cwd=tmp_path).returncode == 0
    assert run(command, "--version", cwd=tmp_path).stdout == f"reprune-onnx {__version__}\n"

    code = (
        "import importlib.util as u, reprune_onnx;"
        "print(reprune_onnx.__file__); print(u.find_spec('torch'))"
    )
    where, torch = run(bin_ / "python", "-c", code, cwd=tmp_path).stdout.splitlines()
    assert Path(where).is_relative_to(tmp_path)
    assert not Path(where).is_relative_to(root)
    assert torch == "None"
