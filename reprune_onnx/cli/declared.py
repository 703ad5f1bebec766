"""Options of commands from the fields of `Settings`, which declare them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields
from inspect import Parameter, signature
from typing import Annotated, Any

import typer

from reprune_onnx.options import options, words_of
from reprune_onnx.settings import Settings

GIVEN = "settings"
"""The parameter of a command in whose place the options stand."""


def option(name: str) -> Any:
    """What Typer is told of the option of a field: its names, its help, what stands for a value."""
    declared = options(Settings)[name][1]
    names = declared.names or (f"--{name.replace('_', '-')}",)
    return typer.Option(*names, help=declared.help, metavar=declared.metavar)


def several(name: str) -> Any:
    """What Typer is told of an option that takes several values of a field, with commas."""
    declared = options(Settings)[name][1]
    letter = name[0].upper()
    return typer.Option(
        f"--{name}", help=f"{declared.help} Several, with commas.", metavar=f"{letter},{letter},…"
    )


def with_settings(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of the fields ``names``, or of all, as one dict of their values.

    They stand where the command has its parameter ``settings``; its values are those of `Settings`.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        chosen = names or tuple(options(Settings))
        parameters: list[Parameter] = []
        for parameter in signature(function, eval_str=True).parameters.values():
            if parameter.name == GIVEN:
                parameters += _parameters(chosen)
            else:
                parameters.append(parameter.replace(kind=Parameter.KEYWORD_ONLY))

        def command(**values: Any) -> None:
            given = {name: _held(name, values.pop(name)) for name in chosen}
            function(**values, **{GIVEN: given})

        told: Any = command
        told.__signature__ = signature(function).replace(parameters=parameters)
        told.__annotations__ = {p.name: p.annotation for p in parameters}
        command.__doc__ = function.__doc__
        return command

    return decorate


def _parameters(names: Iterable[str]) -> list[Parameter]:
    defaults = {f.name: f.default for f in fields(Settings)}
    return [
        Parameter(
            name,
            Parameter.KEYWORD_ONLY,
            default=_default(name, defaults[name]),
            annotation=Annotated[_kind(name), option(name)],
        )
        for name in names
    ]


def _kind(name: str) -> Any:
    kind = words_of(Settings, name)
    return kind | None if kind == list[str] else kind


def _default(name: str, held: Any) -> Any:
    """The default as words: what is repeated has none, and a flag that turns off is not given."""
    return None if held == () else False if words_of(Settings, name) is bool else held


def _held(name: str, words: Any) -> Any:
    """The field's value of what was read."""
    read = options(Settings)[name][1].read
    if words_of(Settings, name) == list[str]:
        words = words or []
    return words if read is None else read(words)
