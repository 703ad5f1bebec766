"""Where the package makes notes: every call of `Note`, found in its source."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache

from package_calls import calls_of, words_of


@dataclass(frozen=True)
class Site:
    """``pattern`` is what its sentences look like, ``words`` are their constant parts."""

    path: str
    line: int
    pattern: str
    words: tuple[str, ...]

    def made(self, note: str) -> bool:
        """Whether a sentence is one of this call's; one without words of its own never is."""
        return bool(re.search("[a-z] [a-z]", " ".join(self.words))) and bool(
            re.fullmatch(self.pattern, note, re.DOTALL)
        )

    def __str__(self) -> str:
        return f"{self.path}:{self.line} {'…'.join(self.words)[:90]!r}"


@cache
def sites() -> tuple[Site, ...]:
    return tuple(
        Site(name, node.lineno, _pattern(node.args[0]), words_of(node.args[0]))
        for name, node in calls_of({"Note"})
    )


def _pattern(text: ast.expr) -> str:
    if isinstance(text, ast.Constant):
        return re.escape(str(text.value))
    if isinstance(text, ast.JoinedStr):
        return "".join(map(_pattern, text.values))
    if isinstance(text, ast.IfExp):
        return f"(?:{_pattern(text.body)}|{_pattern(text.orelse)})"
    return ".*"
