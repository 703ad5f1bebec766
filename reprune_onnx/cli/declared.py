"""Options of commands from the fields of `Settings` and its like, which declare them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields
from inspect import Parameter, signature
from typing import Annotated, Any

import typer

from reprune_onnx.options import flag, options, words_of
from reprune_onnx.settings import Settings

REQUIRED = Parameter.empty
"""The default of an option that has to be given."""


def option(name: str, of: type = Settings) -> Any:
    """Typer's declaration of the option of a field: names, help and metavar."""
    declared = options(of)[name][1]
    names = declared.names or (flag(name),)
    return typer.Option(*names, help=declared.help, metavar=declared.metavar)


def several(name: str) -> Any:
    """Typer's declaration of an option that takes several values of a field, with commas."""
    declared = options(Settings)[name][1]
    letter = name[0].upper()
    return typer.Option(
        f"--{name}", help=f"{declared.help} Several, with commas.", metavar=f"{letter},{letter},…"
    )


def with_settings(
    *names: str, of: type = Settings, into: str = "settings", **defaults: Any
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of the fields ``names``, or of all, as one dict of their values.

    They stand where the command has its parameter ``into``; its values are what the fields of the
    dataclass ``of`` hold. ``defaults`` are the command's own, as words; `REQUIRED` is none.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        chosen = names or tuple(options(of))
        parameters: list[Parameter] = []
        for parameter in signature(function, eval_str=True).parameters.values():
            if parameter.name == into:
                parameters += _parameters(chosen, of, defaults)
            else:
                parameters.append(parameter.replace(kind=Parameter.KEYWORD_ONLY))

        def command(**values: Any) -> None:
            given = {name: _held(of, name, values.pop(name)) for name in chosen}
            function(**values, **{into: given})

        told: Any = command
        told.__signature__ = signature(function).replace(parameters=parameters)
        told.__annotations__ = {p.name: p.annotation for p in parameters}
        command.__doc__ = function.__doc__
        return command

    return decorate


def first(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let the help of a command begin with the options ``names``, those that most users need.

    Raises KeyError for an option that the command does not have.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        told: Any = command
        parameters = dict(signature(command).parameters)
        leading = [parameters.pop(name) for name in names]
        told.__signature__ = signature(command).replace(
            parameters=[
                p.replace(kind=Parameter.KEYWORD_ONLY) for p in (*leading, *parameters.values())
            ]
        )
        return command

    return decorate


def _parameters(names: Iterable[str], of: Any, defaults: Mapping[str, Any]) -> list[Parameter]:
    held = {f.name: f.default for f in fields(of)}
    return [
        Parameter(
            name,
            Parameter.KEYWORD_ONLY,
            default=defaults[name] if name in defaults else _default(of, name, held[name]),
            annotation=Annotated[_kind(of, name), option(name, of)],
        )
        for name in names
    ]


def _kind(of: type, name: str) -> Any:
    kind = words_of(of, name)
    return kind | None if kind == list[str] else kind


def _default(of: type, name: str, held: Any) -> Any:
    """The default as words: what is repeated has none, and a flag that turns off is not given."""
    if held is MISSING:
        return REQUIRED
    shown = options(of)[name][1].shown
    if shown is not None:
        return shown
    return None if held == () else False if words_of(of, name) is bool else held


def _held(of: type, name: str, words: Any) -> Any:
    """The field's value of what was read."""
    read = options(of)[name][1].read
    if words_of(of, name) == list[str]:
        words = words or []
    return words if read is None else read(words)
