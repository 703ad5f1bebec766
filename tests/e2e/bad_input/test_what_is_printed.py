"""What is printed: names of a file are only text, and a stream may be full or closed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from altered_models import HALF, altered

EVIL = "\x1b[31m\x9b2J\x1b]0;title\x07\u202e[red]:car:[/x]"
SHOWN = r"\u001b[31m\u009b2J\u001b]0;title\u0007\u202e[red]:car:[/x]"


def evil_names(model):
    for node in model.graph.node:
        node.name += EVIL
    old = model.graph.input[0].name
    for node in model.graph.node:
        node.input[:] = [name + EVIL if name == old else name for name in node.input]
    model.graph.input[0].name = old + EVIL


def test_names_command_no_terminal(call, demo, tmp_path):
    path = altered(demo, tmp_path / f"model{EVIL.replace('/', '')}.onnx", evil_names)
    for command in (("analyze", path), ("analyze", path, "--json", "-"), ("prune", path, *HALF)):
        result = call(*command)
        assert result.code == 0, result.err
        assert all(c.isprintable() or c == "\n" for c in result.out)
        assert "[red]:car:[/x]" in result.out or command[0] == "prune"
    assert SHOWN in call("analyze", path).out
    result = call("prune", path, "-o", tmp_path / "small.onnx", *HALF, "--include", EVIL)
    assert result.code == 1
    assert SHOWN in result.err
    assert all(c.isprintable() or c == "\n" for c in result.err)


def test_a_file_name_that_is_no_text(call, demo, tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path / "model") + b"\xff.onnx"))
    shutil.copy(demo, path)
    report = path.with_name(f"{path.stem}-pruned.report.json")
    assert call("prune", path, *HALF).code == 0
    assert r"\udcff.onnx" in report.read_text(encoding="utf-8")
    assert call("verify", path, path.with_name(f"{path.stem}-pruned.onnx")).code == 0
    assert call("report", report, "-o", path.with_suffix(".html")).code == 0


def run(command: str, folder: Path, *args: object) -> subprocess.CompletedProcess[bytes]:
    """Run the command line in a shell, as ``$run``."""
    program = f'{sys.executable} -c "from reprune_onnx.cli import main; main()"'
    root = str(Path(__file__).resolve().parents[3])
    return subprocess.run(
        ["sh", "-c", f'run() {{ {program} "$@"; }}; {command}', "sh", *map(str, args)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        check=False,
    )


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="there is no /dev/full")
@pytest.mark.parametrize("command", ["run analyze model.onnx", "run --help"])
def test_stdout_is_full(model, tmp_path, command):
    result = run(f"{command} >/dev/full", tmp_path)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith(b"reprune-onnx: the system refuses: ")


def test_streams_are_closed(model, tmp_path):
    result = run(f"run prune model.onnx {' '.join(HALF)} <&- >&- 2>&-", tmp_path)
    assert result.returncode == 0
    assert (tmp_path / "model-pruned.onnx").exists()
    assert run("run prune nowhere.onnx --sparsity 0.5 <&- >&- 2>&-", tmp_path).returncode == 1


def test_the_folder_is_gone(model, tmp_path):
    (tmp_path / "gone").mkdir()
    result = run("rmdir ../gone; run prune ../model.onnx --sparsity 0.5", tmp_path / "gone")
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
