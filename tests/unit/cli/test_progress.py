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


def test_the_bar_says_how_long_it_has_taken_and_how_long_it_will_take(capsys, monkeypatch):
    now = 100.0
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr("rich.console.monotonic", lambda: now)
    with progress.Bar(quiet=False) as bar:
        for done in range(4):
            bar("recovering", done, 4)
            now += 100.0
        assert bar._progress is not None
        task = bar._progress.tasks[0]
        assert task.elapsed == 400.0
        assert task.time_remaining == 100.0
    assert "0:01:40" in capsys.readouterr().err


def test_a_quiet_bar_draws_nothing(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with progress.Bar(quiet=True) as bar:
        bar("select", 1, 2)
    assert capsys.readouterr() == ("", "")
