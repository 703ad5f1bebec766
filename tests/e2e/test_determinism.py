"""The same input, options and seed give the same bytes wherever and however they are run."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

HOW = ("--macs-reduction", "0.4", "--seed", "3", "--calibration-size", "64")
DIGITS = ("--calibration", "digits.npz", "--preprocess", "scale=1/16")
CHARSETS = {"tr_TR": "ISO-8859-9", "de_DE": "UTF-8"}  # İ and ı; a comma in 0,5


@pytest.fixture(scope="module")
def locales(tmp_path_factory) -> Path:
    """A folder with two locales, made where the system can make them."""
    folder = tmp_path_factory.mktemp("locales")
    if shutil.which("localedef") is None:
        pytest.skip("there is no localedef, which makes locales")
    for name, charset in CHARSETS.items():
        command = ["localedef", "-i", name, "-f", charset, str(folder / f"{name}.{charset}")]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode > 1:  # 1 is a warning
            pytest.skip(f"localedef cannot make {name}: {made.stderr.strip()}")
    return folder


def made(
    run_cli, folder: Path, cwd: Path, env: dict[str, str], images: tuple[str, ...] = DIGITS
) -> tuple[bytes, dict]:
    """The model, and its report without times and paths."""
    out = folder / "small.onnx"
    places = {name: os.path.relpath(folder / name, cwd) for name in ("model.onnx", "digits.npz")}
    words = (places.get(word, word) for word in ("prune", "model.onnx", "-o", out, *HOW, *images))
    result = run_cli(*words, cwd=cwd, env=env)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    report = json.loads((folder / "small.report.json").read_text(encoding="utf-8"))
    del report["seconds"], report["source"]["path"], report["recovery"]["seconds"]
    report["settings"].pop("calibration", None)  # a path too
    if report["without_images"] is not None:
        assert report["without_images"]["taken"] == "generated"
        del report["without_images"]["seconds"]
    return out.read_bytes(), report


def test_the_same_bytes_everywhere(run_cli, demo, digits, locales, tmp_path):
    turkish = {"LC_ALL": "tr_TR.ISO-8859-9", "LOCPATH": str(locales)}
    german = {"LC_ALL": "de_DE.UTF-8", "LOCPATH": str(locales)}
    ways = {
        "one thread": {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "LC_ALL": "C", "TZ": "UTC"},
        "Turkish": {"OMP_NUM_THREADS": "2", "PYTHONHASHSEED": "1", "TZ": "Asia/Kolkata"} | turkish,
        "German": {"OMP_NUM_THREADS": "3", "PYTHONHASHSEED": "2", "TZ": "America/Lima"} | german,
    }
    collected = []
    for k, env in enumerate(ways.values()):
        folder = tmp_path / f"folder {k}"
        folder.mkdir()
        shutil.copy(demo, folder / "model.onnx")
        shutil.copy(digits, folder / "digits.npz")
        cwd = (folder, tmp_path, Path("/"))[k]
        collected.append(made(run_cli, folder, cwd, env))
    for model, report in collected[1:]:
        assert report == collected[0][1]
        assert model == collected[0][0]


def test_the_same_bytes_without_images(run_cli, demo, tmp_path):
    """Generated images, their range and choice, and the judgement of both ways."""
    collected = []
    for threads in ("1", "2"):
        folder = tmp_path / threads
        folder.mkdir()
        shutil.copy(demo, folder / "model.onnx")
        env = {"OMP_NUM_THREADS": threads}
        collected.append(made(run_cli, folder, folder, env, images=()))
    assert collected[1][1] == collected[0][1]
    assert collected[1][0] == collected[0][0]


@pytest.mark.parametrize("command", ["prune", "analyze"])
def test_a_terminal_that_lacks_a_character_is_no_failure(run_cli, model, command):
    more = ("--sparsity", "0.5", "--recover", "none") if command == "prune" else ()
    result = run_cli(command, model, *more, env={"PYTHONIOENCODING": "ascii"})
    assert (result.returncode, result.stderr) == (0, "")
    assert "/stage1/block1/conv1/Conv" in result.stdout
