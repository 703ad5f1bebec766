"""The progress bar is drawn on a terminal, and nowhere else."""

import pytest

from reprune_onnx.cli import progress


@pytest.mark.parametrize("terminal", [False, True])
def test_a_bar_is_drawn_on_a_terminal_only(capsys, monkeypatch, terminal):
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    with progress.Bar(quiet=False) as bar:
        bar("select", 1, 2)
    out, err = capsys.readouterr()
    assert out == ""
    assert ("select" in err) == terminal
    assert (err == "") == (not terminal)


def test_a_quiet_bar_draws_nothing(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with progress.Bar(quiet=True) as bar:
        bar("select", 1, 2)
    assert capsys.readouterr() == ("", "")
