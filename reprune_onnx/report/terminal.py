"""The console that tables and lines are printed on."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from reprune_onnx.printable import printable

_WIDEST = 160  # columns, where the output is not a terminal


class Terminal(Console):
    """A rich console on which text is only text: names of a file are no markup, and no commands.

    It is as wide as the terminal, or as a log or a pipe is taken to be.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)
        if not self.is_terminal:
            self.width = _WIDEST

    def render_str(self, text: str, **options: Any) -> Text:
        """Every string that is printed, or stands in a table, comes by here."""
        return super().render_str(printable(text), **options)
