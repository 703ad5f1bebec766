"""The calls that the package's source makes, found in its syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from pathlib import Path

import reprune_onnx

PACKAGE = Path(reprune_onnx.__file__).parent


def calls_of(names: Collection[str]) -> Iterator[tuple[str, ast.Call]]:
    """Every call of one of ``names``, plain or as an attribute, with its file in the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and _name(node.func) in names:
                yield name, node


def words_of(node: ast.AST) -> tuple[str, ...]:
    """The constant parts of the texts in a piece of source."""
    constants = [w.value for w in ast.walk(node) if isinstance(w, ast.Constant)]
    return tuple(w for w in constants if isinstance(w, str))


def _name(function: ast.expr) -> str:
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
