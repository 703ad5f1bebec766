"""What is written may replace nothing that is precious, and must be writable."""

import os
import shutil

import onnx
import pytest
from altered_models import HALF, SIXTEENTHS


def test_out_exists(refuses, call, model, tmp_path):
    out = tmp_path / "small.onnx"
    out.write_bytes(b"precious")
    refuses("prune", model, "-o", out, *HALF, says=("small.onnx", "exists", "--force"))
    assert call("prune", model, "-o", out, *HALF, "--force").code == 0
    onnx.checker.check_model(out)


def test_the_default_out_exists(refuses, model, tmp_path):
    (tmp_path / "model-pruned.onnx").write_bytes(b"precious")
    refuses("prune", model, *HALF, says=("model-pruned.onnx", "exists"))


def test_the_report_exists(refuses, model, tmp_path):
    (tmp_path / "small.report.json").write_bytes(b"precious")
    refuses("prune", model, "-o", tmp_path / "small.onnx", *HALF, says=("small.report.json",))


@pytest.mark.parametrize("force", [(), ("--force",)])
def test_out_lies_in_a_folder_that_does_not_exist(refuses, model, tmp_path, force):
    out = tmp_path / "nowhere" / "small.onnx"
    refuses("prune", model, "-o", out, *HALF, *force, says=("cannot write", "nowhere"))


def test_out_lies_below_a_file(refuses, model, tmp_path):
    (tmp_path / "file").write_bytes(b"precious")
    refuses("prune", model, "-o", tmp_path / "file" / "small.onnx", *HALF, says=("cannot write",))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_out_lies_in_a_folder_without_permission(refuses, model, tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    refuses("prune", model, "-o", folder / "small.onnx", *HALF, says=("permission",))


def test_out_is_a_folder(refuses, model, tmp_path):
    (tmp_path / "folder").mkdir()
    refuses("prune", model, "-o", tmp_path / "folder", *HALF, "--force", says=("folder",))


@pytest.mark.parametrize("name", ["", "x" * 300 + ".onnx"])
def test_out_has_an_impossible_name(refuses, model, tmp_path, name):
    out = str(tmp_path / name) if name else ""
    refuses("prune", model, "-o", out, *HALF)


@pytest.mark.parametrize("option", ["-o", "--report"])
@pytest.mark.parametrize("way", ["itself", "dots", "link", "hard link"])
def test_the_model_is_never_written_to(refuses, model, tmp_path, option, way):
    (tmp_path / "sub").mkdir()
    path = {
        "itself": model,
        "dots": tmp_path / "sub" / ".." / "model.onnx",
        "link": tmp_path / "link.onnx",
        "hard link": tmp_path / "hard.onnx",
    }[way]
    if way == "link":
        path.symlink_to(model)
    if way == "hard link":
        path.hardlink_to(model)
    refuses("prune", model, option, path, *HALF, "--force", says=("never written to",))


@pytest.mark.parametrize("option", ["-o", "--report"])
def test_the_weights_beside_the_model_are_never_written_to(refuses, external, option):
    refuses("prune", external, option, external.parent / "w.data", *HALF, "--force")


def test_the_weights_beside_out_are_not_those_that_are_read(refuses, external):
    """A model of more than 2 GB has its weights in OUT.data."""
    out = external.with_name("w")
    refuses("prune", external, "-o", out, "--force", *HALF, says=("w.data", "is read"))


def test_the_report_may_not_replace_the_model_it_is_about(refuses, model, tmp_path):
    out = tmp_path / "small.onnx"
    refuses("prune", model, "-o", out, "--report", out, *HALF)


def test_the_report_that_is_applied_is_not_overwritten_by_its_own(refuses, pair, tmp_path):
    model, pruned = pair
    report = pruned.with_name("small.report.json")
    out = tmp_path / "again.onnx"
    refuses("prune", model, "-o", out, "--keep", report, "--report", report, says=("exists",))


@pytest.mark.parametrize("command", ["analyze", "evaluate"])
def test_json_does_not_replace_the_model(refuses, model, digits, command):
    more = ("--data", digits, *SIXTEENTHS) if command == "evaluate" else ()
    refuses(command, model, *more, "--json", model, says=("model.onnx",))


def test_json_in_a_folder_that_does_not_exist(refuses, model, tmp_path):
    path = tmp_path / "nowhere" / "a.json"
    refuses("analyze", model, "--json", path, says=("cannot write", "nowhere"))


def test_out_and_report_are_one_file_under_two_names(refuses, model, tmp_path):
    (tmp_path / "sub").mkdir()
    out, report = tmp_path / "small.onnx", tmp_path / "sub" / ".." / "small.onnx"
    refuses("prune", model, "-o", out, "--report", report, *HALF, says=("its report",))


@pytest.mark.parametrize("option", ["-o", "--report"])
def test_a_pipe_is_not_replaced(call, model, tmp_path, option):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    result = call("prune", model, option, pipe, *HALF, "--force")
    assert (result.code, result.out) == (1, "")
    assert "no ordinary file" in result.err
    assert pipe.is_fifo()


def test_json_replaces_json_only(refuses, call, external, tmp_path):
    weights = external.parent / "w.data"
    refuses("analyze", external, "--json", weights, says=("w.data", "holds no JSON"))
    for _ in range(2):
        assert call("analyze", external, "--json", tmp_path / "found.json").code == 0


def test_a_sweep_does_not_write_where_its_model_lies(refuses, model, tmp_path):
    (tmp_path / "sweep" / "models").mkdir(parents=True)
    source = shutil.move(model, tmp_path / "sweep" / "models" / "a.onnx")
    options = ("--macs-reduction", "0.3", "--recover", "none")
    refuses("sweep", source, "-o", tmp_path / "sweep", *options, says=("is read", "another folder"))
