"""Where the package refuses: every call of one of its error classes, found in its source."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from package_calls import PACKAGE, calls_of, words_of

from reprune_onnx import errors

ERRORS = {
    name
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, errors.RepruneError)
}


@dataclass(frozen=True)
class Site:
    """``words`` are the constant parts of the message."""

    path: str
    first: int
    last: int
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.path}:{self.first} {'…'.join(self.words)[:90]!r}"


@cache
def sites() -> tuple[Site, ...]:
    return tuple(
        Site(name, node.lineno, node.end_lineno or node.lineno, words_of(node))
        for name, node in calls_of(ERRORS)
    )


@contextmanager
def recorded() -> Iterator[set[Site]]:
    """The sites whose errors are made meanwhile."""
    reached: set[Site] = set()
    real = errors.RepruneError.__init__

    def init(self: errors.RepruneError, *args: Any) -> None:
        frame = sys._getframe(1)
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(PACKAGE):
            name = path.relative_to(PACKAGE).as_posix()
            reached.update(
                s for s in sites() if s.path == name and s.first <= frame.f_lineno <= s.last
            )
        real(self, *args)

    errors.RepruneError.__init__ = init
    try:
        yield reached
    finally:
        errors.RepruneError.__init__ = real
