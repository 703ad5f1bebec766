"""The sentences by which channels stay, found in the analyzer's source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path

import reprune_onnx.analyzer

FOLDER = Path(reprune_onnx.analyzer.__file__).parent
STATES = {
    "lock",
    "Lock",
    "LockDraft",
    "_lock",
    "_lock_names",
    "_stays",
    "fixed",
    "_one_locked_label",
}
"""What states a lock; the reason is its last argument."""


@cache
def sentences() -> dict[str, re.Pattern[str]]:
    """Every sentence of the source, with ``…`` for what is put in, and what it is printed as."""
    shapes = dict[str, re.Pattern[str]]()
    trees = {p: ast.parse(p.read_text(encoding="utf-8")) for p in sorted(FOLDER.rglob("*.py"))}
    everywhere = {name: f for tree in trees.values() for name, f in _functions(tree).items()}
    for path, tree in trees.items():
        for text in _stated(tree, everywhere):
            assert re.search("[a-z] [a-z]", text), f"{path}: '{text}' is no sentence"
            shapes[text] = re.compile(".+".join(map(re.escape, text.split("…"))) + "$")
    return shapes


def _functions(tree: ast.Module) -> dict[str, ast.FunctionDef]:
    return {n.name: n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}


def _stated(tree: ast.Module, everywhere: dict[str, ast.FunctionDef]) -> Iterator[str]:
    own_functions = _functions(tree)
    functions = everywhere | own_functions
    for function in own_functions.values():
        parameters = {a.arg for a in function.args.args}
        for call in ast.walk(function):
            if not (isinstance(call, ast.Call) and call.args and _name(call.func) in STATES):
                continue
            reason = call.args[-1]
            if isinstance(reason, ast.Name) and reason.id not in parameters:
                values = list(_assigned(function, reason.id))
                assert values, f"the reason '{reason.id}' of {function.name} is not written there"
                for value in values:
                    yield from _texts(value, functions)
            else:
                yield from _texts(reason, functions)


def _name(function: ast.expr) -> str:
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")


def _assigned(function: ast.FunctionDef, name: str) -> Iterator[ast.expr]:
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == name for t in node.targets
        ):
            yield node.value


def _texts(value: ast.expr, functions: dict[str, ast.FunctionDef]) -> Iterator[str]:
    """The sentences of an expression; a function may give them, or a part of them."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        yield value.value
    elif isinstance(value, ast.JoinedStr):
        for parts in product(*(list(_part(p, functions)) for p in value.values)):
            yield "".join(parts)
    elif isinstance(value, ast.Call) and _name(value.func) in functions:
        yield from _returned(_name(value.func), functions)


def _returned(name: str, functions: dict[str, ast.FunctionDef]) -> Iterator[str]:
    for node in ast.walk(functions[name]):
        if isinstance(node, ast.Return) and node.value is not None:
            yield from _texts(node.value, functions)


def _part(part: ast.expr, functions: dict[str, ast.FunctionDef]) -> Iterator[str]:
    if isinstance(part, ast.Constant):
        yield str(part.value)
        return
    assert isinstance(part, ast.FormattedValue)
    called = part.value
    if isinstance(called, ast.Call) and _name(called.func) in functions:
        yield from _returned(_name(called.func), functions)
    else:
        yield "…"
