"""Libraries of custom operators: loaded by every session of a command, or refused in one line."""

import os

import pytest
import typer

from reprune_onnx.cli.app import app
from reprune_onnx.errors import ModelError
from reprune_onnx.runtime.custom_ops import VARIABLE, custom_ops, loaded, register

SESSIONLESS = {"report", "targets"}


class Options:
    """Stands for ONNX Runtime's options, which only take real libraries."""

    def __init__(self):
        self.libraries = []

    def register_custom_ops_library(self, path):
        self.libraries.append(path)


def test_every_session_loads_the_libraries_and_afterwards_none(tmp_path):
    paths = [tmp_path / "a.so", tmp_path / "b.so"]
    for path in paths:
        path.touch()
    inside, outside = Options(), Options()
    with custom_ops(paths[:1]), custom_ops(paths[1:]):
        register(inside)
        assert os.environ[VARIABLE].count("so") == 2  # so that processes started now load them too
    register(outside)
    assert inside.libraries == [str(p) for p in paths]
    assert outside.libraries == [] == loaded()
    assert VARIABLE not in os.environ


@pytest.mark.parametrize("folder", [False, True])
def test_what_is_no_file_is_refused(tmp_path, folder):
    path = tmp_path if folder else tmp_path / "none.so"
    with pytest.raises(ModelError, match="is no file"), custom_ops([path]):
        pass


def test_every_command_that_makes_a_session_has_the_option():
    commands = typer.main.get_command(app).commands
    without = {n for n, c in commands.items() if "custom_ops" not in [p.name for p in c.params]}
    assert without == SESSIONLESS


@pytest.mark.parametrize("command", ["prune", "verify", "evaluate", "bench"])
def test_a_library_that_is_none_ends_in_one_line(call, demo, digits, tmp_path, command):
    library = tmp_path / "none.so"
    library.write_text("no library")
    small = tmp_path / "small.onnx"
    assert call("prune", demo, "-o", small, "--sparsity", "0.2", "--method", "l1").code == 0
    how = {
        "prune": (demo, "-o", tmp_path / "out.onnx", "--sparsity", "0.2", "--method", "l1"),
        "verify": (demo, small),
        "evaluate": (demo, "--data", digits),
        "bench": (demo,),
    }[command]
    result = call(command, *how, "--custom-ops", library)
    assert result.code == 1
    assert len(result.err.splitlines()) == 1
    assert f"cannot load the custom operators of '{library}'" in result.err
    assert not (tmp_path / "out.onnx").exists()
