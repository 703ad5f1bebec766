"""The built wheel works alone: outside the source tree, in an environment with nothing else."""

import json
import shutil
import sys
import venv
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from reprune_onnx import __version__


@pytest.fixture(scope="module")
def wheel(check_out, run_outside, tmp_path_factory) -> Path:
    """Build from a copy, so that the source tree gets no build folder."""
    folder = check_out(tmp_path_factory.mktemp("build"))
    out = tmp_path_factory.mktemp("wheel")
    if find_spec("build") and find_spec("hatchling"):
        how = ("-m", "build", "--wheel", "--no-isolation", "--outdir", out, folder)
    else:
        how = ("-m", "pip", "wheel", "-q", "--no-deps", "-w", out, folder)
    run_outside(sys.executable, *how, cwd=out, downloads=True)
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_has_the_package_and_no_tests(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert "reprune_onnx" in tops
    assert {t for t in tops if not t.endswith(".dist-info")} == {"reprune_onnx"}
    assert "reprune_onnx/py.typed" in names
    assert "reprune_onnx/deploy/targets/cpu.toml" in names
    assert "reprune_onnx/deploy/parsers/tensorrt-8.2.toml" in names
    assert "reprune_onnx/deploy/jetson/run.sh" in names
    assert not any("__pycache__" in name for name in names)
    assert any("licenses/LICENSE" in name for name in names)


def test_the_installed_wheel_prunes(wheel, run_outside, root, demo, tmp_path):
    """In a fresh environment that has the wheel and its dependencies, beside a model."""
    run = run_outside
    venv.create(tmp_path / "env", with_pip=True, symlinks=True)
    bin_ = tmp_path / "env" / "bin"
    pip = (bin_ / "python", "-m", "pip", "--disable-pip-version-check")
    run(*pip, "install", "-q", wheel, cwd=tmp_path, downloads=True)
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
