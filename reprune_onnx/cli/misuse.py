"""The line for words that the command line cannot read, of which Typer makes several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer

Misuse: Any = typer.BadParameter.__mro__[1]
"""The UsageError of the Click that Typer has: a package of its own, or a part of Typer."""

_TAKES = {
    "integer": "a whole number",
    "float": "a number, such as 0.5",
    "number": "a number, such as 0.5",
}
"""The values that a parameter takes, by the word that Typer has for them."""


def misused(problem: Any, argv: Sequence[str]) -> str:
    """Return the fault in ``argv``, with the name of the option, and the help to read."""
    if isinstance(problem, typer.BadParameter) and problem.message:
        message = _of_value(problem, argv)
    else:  # a word that is missing, or not known
        message = " ".join(problem.format_message().split()).removesuffix(".")
    path = f"reprune-onnx {argv[0]}" if problem.ctx is None else problem.ctx.command_path
    see = " See" if message.endswith("?") else "; see"
    return f"{message[0].lower()}{message[1:]}{see} {path} --help"


def _of_value(problem: Any, argv: Sequence[str]) -> str:
    """The fault in the value of an option, which is named as it was given."""
    message = problem.message.removeprefix("Value error, ").removesuffix(".")
    name, given = _given(problem.param.opts, argv)
    takes = next((text for word, text in _TAKES.items() if word in message), None)
    return f"{name} {message if takes is None else f'{given!r} is not {takes}'}"


def _given(names: Sequence[str], argv: Sequence[str]) -> tuple[str, str]:
    """The name by which the option was given last, and its value; ("", "") of an argument."""
    for i, word in reversed([*enumerate(argv)]):
        name, equals, value = word.partition("=")
        if name in names:
            return name, value if equals else " ".join(argv[i + 1 : i + 2])
    return max(names, key=len), ""
