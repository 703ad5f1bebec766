"""The declaration of an option, once for the dataclass that holds it and for the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Generic, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from reprune_onnx.arguments import wrong_type
from reprune_onnx.errors import UsageError

Given = TypeVar("Given")
Held = TypeVar("Held")


@dataclass(frozen=True)
class Option:
    """The effect of an option, in the sentence that documents the field and stands in the help.

    ``metavar`` stands for its value in the help. ``names`` are those on the command line, where it
    is not ``--`` and the field's with dashes. ``words`` is the type that the command line reads,
    where it is not the field's, and ``read`` makes the field's value of it. ``shown`` is the
    default in these words, where the field's own is none of them.
    """

    help: str
    metavar: str | None = None
    names: tuple[str, ...] = ()
    words: Any = None
    read: Callable[[Any], Any] | None = None
    shown: str | None = None


class Takes(Generic[Given, Held]):
    """A field that holds one type and takes several: ``convert(name, value)`` makes it of them."""

    def __init__(self, convert: Callable[[str, Given], Held], default: Held) -> None:
        self.convert, self.default = convert, default

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: object, owner: type | None = None) -> Held:
        value: Held = self.default if instance is None else vars(instance)[self.name]
        return value

    def __set__(self, instance: object, value: Given) -> None:
        vars(instance)[self.name] = self.convert(self.name, value)


@cache
def options(declared: type) -> dict[str, tuple[Any, Option]]:
    """The type and the `Option` of every field of a dataclass, in order."""
    hints = get_type_hints(declared, include_extras=True)
    return {f.name: get_args(hints[f.name])[:2] for f in fields(declared)}


def flag(name: str) -> str:
    """The name of a field on the command line, where no other is declared.

    >>> flag("round_to")
    '--round-to'
    """
    return f"--{name.replace('_', '-')}"


def words_of(declared: type, name: str) -> Any:
    """The type that the command line reads for a field."""
    kind, option = options(declared)[name]
    return kind if option.words is None else option.words


@cache
def choices(declared: type, name: str) -> tuple[str, ...]:
    """The words that a field can be; () where it is not one of a few."""
    kinds = _kinds(words_of(declared, name))
    literal = next((k for k in kinds if get_origin(k) is Literal), None)
    return () if literal is None else get_args(literal)


def check_fields(instance: Any) -> None:
    """Raise ArgumentError for a field of a wrong type, UsageError for none of its choices."""
    declared: Any = type(instance)
    for name, (kind, _) in options(declared).items():
        if get_origin(kind) is Takes:
            continue
        value = getattr(instance, name)
        words = choices(declared, name)
        if words and isinstance(value, str) and value not in words:
            raise UsageError(f"{flag(name)} '{value}' is not one of {', '.join(words)}")
        object.__setattr__(instance, name, _of_kind(name, value, _kinds(kind)))


def _kinds(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (UnionType, Union) else (kind,)


def _of_kind(name: str, value: object, kinds: tuple[Any, ...]) -> object:
    """The value, a number of numpy as one of Python; ArgumentError where it is no ``kinds``."""
    names = []
    for kind in kinds:
        types, shown, convert = _TYPES.get(kind, (str, _quoted(kind), str))
        if isinstance(value, types) and not (isinstance(value, bool) and kind is not bool):
            return convert(value)
        names.append(shown)
    raise wrong_type(name, value, " or ".join(n for n in names if n))


def _quoted(kind: Any) -> str:
    return "one of " + ", ".join(repr(word) for word in get_args(kind))


_TYPES: dict[Any, tuple[type, str, Callable[[Any], object]]] = {
    bool: (bool, "True or False", bool),
    int: (Integral, "a whole number", int),
    float: (Real, "a number", lambda value: value if isinstance(value, int) else float(value)),
    str: (str, "text", str),
    Path: (Path, "a path", Path),
    NoneType: (NoneType, "", lambda value: None),
}
"""The types that a field takes, their name in messages, and the form in which they are held."""
