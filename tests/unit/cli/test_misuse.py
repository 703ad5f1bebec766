"""Words that the command line cannot read: one line with the option, its value and the help."""

import pytest

ROWS = {
    "a share in per cent": (
        ("prune", "m", "--sparsity", "55%"),
        "--sparsity '55%' is not a number",
    ),
    "a comma for a point": (
        ("prune", "m", "--sparsity=0,5"),
        "--sparsity '0,5' is not a number, such",
    ),
    "by the short name": (("prune", "m", "-j", "all"), "-j 'all' is not a whole number"),
    "no choice": (("analyze", "m", "--residual", "al"), "--residual 'al' is not one of 'keep', "),
    "without its value": (("prune", "m", "--sparsity"), "'--sparsity' requires an argument"),
    "a name of none": (("prune", "m", "--sparsty", "1"), "no such option: --sparsty"),
    "a word too many": (("prune", "m", "0.5"), "got unexpected extra argument"),
    "no model": (("prune",), "missing argument 'MODEL'; see"),
    "no option that is required": (("evaluate", "m"), "missing option '--data'; see"),
    "a value for a flag": (("prune", "m", "--quiet=1"), "'--quiet' does not take a value"),
}


@pytest.mark.parametrize(("words", "says"), ROWS.values(), ids=ROWS)
def test_one_line_names_the_option_and_the_help_to_read(refuses, words, says):
    refuses(*words, code=2, says=(says, f"ee reprune-onnx {words[0]} --help"))


def test_a_command_that_there_is_not_is_named(refuses):
    """Newer releases of Typer name one that is close, as a question."""
    refuses("prun", "m", code=2, says=("no such command 'prun'", "ee reprune-onnx --help"))


def test_no_word_at_all_shows_the_help(call):
    done = call()
    assert done.code in (0, 2)  # as Typer has it
    assert "Commands:" in done.err + done.out


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("targets", "-h")])
def test_what_only_informs_is_no_misuse(call, words):
    done = call(*words)
    assert (done.code, done.err) == (0, "")


def test_a_folder_that_is_missing_is_told_before_anything_is_computed(refuses, tmp_path):
    """The model is not even read, which would be refused."""
    where = ("--json", tmp_path / "lost" / "a.json")
    says = ("there is no folder '", "lost'; make it")
    refuses("evaluate", tmp_path / "no.onnx", "--data", "d.npz", *where, says=says)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("analyze", "lost.onnx"), "No such file or directory; check the path"),
        (("analyze", "."), "Is a directory; give a file"),
        (("verify", "m.onnx", "lost.onnx"), "cannot read 'lost.onnx'"),
        (
            ("verify", "m.onnx", "m.onnx"),
            "model.report.json': No such file or directory; give the one",
        ),
        (("evaluate", "m.onnx", "--data", "lost", "--task", "detection"), "lost' does not exist"),
    ],
)
def test_a_path_that_leads_nowhere_is_told_with_the_next_step(
    refuses, model, monkeypatch, words, says
):
    monkeypatch.chdir(model.parent)
    words = [str(model) if word == "m.onnx" else word for word in words]
    refuses(*words, says=(says,))
