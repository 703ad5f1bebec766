"""The sentences by which channels stay, found in the analyzer's source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import reprune_onnx.analyzer

FOLDER = Path(reprune_onnx.analyzer.__file__).parent
STATES = {"lock", "Lock", "LockDraft", "_lock", "_lock_names", "fixed", "_one_locked_label"}
"""What states a lock; the reason is its last argument."""


@cache
def sentences() -> dict[str, re.Pattern[str]]:
    """Every sentence of the source, with ``…`` for what is put in, and what it is printed as."""
    found = dict[str, re.Pattern[str]]()
    for path in sorted(FOLDER.rglob("*.py")):
        for text in _stated(ast.parse(path.read_text(encoding="utf-8"))):
            found[text] = re.compile(".+".join(map(re.escape, text.split("…"))) + "$")
    return found


def _stated(tree: ast.Module) -> Iterator[str]:
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        own = {a.arg for a in function.args.args}
        for call in ast.walk(function):
            if not (isinstance(call, ast.Call) and call.args and _name(call.func) in STATES):
                continue
            reason = call.args[-1]
            if isinstance(reason, ast.Name) and reason.id not in own:
                values = list(_assigned(function, reason.id))
                assert values, f"the reason '{reason.id}' of {function.name} is not written there"
                for value in values:
                    yield from _texts(value)
            else:
                yield from _texts(reason)


def _name(function: ast.expr) -> str:
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")


def _assigned(function: ast.FunctionDef, name: str) -> Iterator[ast.expr]:
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == name for t in node.targets
        ):
            yield node.value


def _texts(value: ast.expr) -> Iterator[str]:
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        yield value.value
    elif isinstance(value, ast.JoinedStr):
        yield "".join(p.value if isinstance(p, ast.Constant) else "…" for p in value.values)
