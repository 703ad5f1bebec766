"""Where tables are printed."""

from __future__ import annotations

from rich.console import Console

_WIDEST = 160  # columns, where the output is not a terminal


def console_of_stdout() -> Console:
    """Return a console as wide as the terminal, or as a log or a pipe is taken to be."""
    console = Console()
    return console if console.is_terminal else Console(width=_WIDEST)
