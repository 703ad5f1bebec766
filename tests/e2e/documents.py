"""What documents show: their commands, the code in their sentences, and the options they name."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SHELL = ("sh", "bash", "console")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")


@dataclass(frozen=True)
class Command:
    """One command of a document: ``words`` as a shell would split them."""

    document: str
    line: str
    words: tuple[str, ...]


def documents(root: Path) -> dict[str, str]:
    """The texts that users read, by their paths."""
    paths = [root / "README.md", *sorted((root / "docs").rglob("*.md")), root / "models/README.md"]
    return {str(p.relative_to(root)): p.read_text(encoding="utf-8") for p in paths}


def commands(name: str, text: str) -> list[Command]:
    """Every command of the shell blocks, in order; those that && joins are several."""
    found = []
    for language, block in _BLOCK.findall(text):
        if language in _SHELL:
            for line in block.replace("\\\n", " ").splitlines():
                for words in _parts(line.strip().removeprefix("$ ")):
                    found.append(Command(name, shlex.join(words), words))
    return found


def _parts(line: str) -> Iterator[tuple[str, ...]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, "&&"]:
        if word != "&&":
            words.append(word)
        elif words:
            yield tuple(words)
            words = []


def spans(text: str) -> list[str]:
    """The code within sentences and tables, and the lines of blocks that no shell runs."""
    lines = [
        line
        for language, block in _BLOCK.findall(text)
        if language == "text"
        for line in block.splitlines()
    ]
    prose = _BLOCK.sub("", text)
    return lines + [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


def options(text: str) -> set[str]:
    """Every option that a text names."""
    return set(_OPTION.findall(text))
