"""The values that fields and arguments accept, and the form in which they hold them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeAlias, cast, get_args

from reprune_onnx.arguments import wrong_type
from reprune_onnx.choices import Criterion, Method, Recover, RecoveryMethod
from reprune_onnx.errors import UsageError
from reprune_onnx.in_memory import InMemory
from reprune_onnx.options import Option
from reprune_onnx.report.fields import ReportLike

PathLike: TypeAlias = str | os.PathLike[str]
Globs: TypeAlias = str | Iterable[str]
WidthsLike: TypeAlias = Mapping[str, int] | Iterable[tuple[str, int]]
ShapesLike: TypeAlias = Mapping[str, Iterable[int]] | Iterable[tuple[str, Iterable[int]]]
MethodLike: TypeAlias = Method | Criterion | Callable[..., Any]
RecoverLike: TypeAlias = Recover | RecoveryMethod | Callable[[Any], Mapping[str, Any]]
DataLike: TypeAlias = str | os.PathLike[str] | InMemory | Iterable[Any]
"""Images: a path, the text of ``--calibration``, an array, or what yields arrays or dicts."""


def as_path(name: str, path: PathLike | None) -> Path | None:
    """A path as a Path."""
    if path is None:
        return None
    if not isinstance(path, (str, os.PathLike)):
        raise wrong_type(name, path, "a path")
    return Path(path)


def as_globs(name: str, globs: Globs) -> tuple[str, ...]:
    """A glob, or several, as a tuple."""
    several = (globs,) if isinstance(globs, str) else globs
    if not isinstance(several, Iterable):
        raise wrong_type(name, globs, "a glob over node names, or several")
    held = tuple(several)
    for glob in held:
        if not isinstance(glob, str):
            raise wrong_type(name, glob, "globs over node names")
    return held


def as_widths(name: str, widths: WidthsLike) -> tuple[tuple[str, int], ...]:
    """``{glob: n}`` as pairs."""
    pairs = _pairs(name, widths, "a dict of globs and numbers of channels, as {'*conv1*': 16}")
    for glob, n in pairs:
        if not isinstance(glob, str) or not isinstance(n, Integral) or isinstance(n, bool):
            raise wrong_type(name, {glob: n}, "globs with whole numbers, as {'*conv1*': 16}")
    return tuple((glob, int(n)) for glob, n in pairs)


def as_shapes(name: str, shapes: ShapesLike) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """``{input: extents}`` as pairs."""
    pairs = _pairs(name, shapes, "a dict of inputs and extents, as {'x': (1, 3, 224, 224)}")
    for port, extents in pairs:
        integers = isinstance(extents, Iterable) and all(isinstance(n, Integral) for n in extents)
        if not isinstance(port, str) or not integers:
            raise wrong_type(name, {port: extents}, "whole extents, as {'x': (1, 3, 224, 224)}")
    return tuple((port, tuple(int(n) for n in extents)) for port, extents in pairs)


def as_whole_numbers(name: str, numbers: Iterable[int]) -> tuple[int, ...]:
    """Several whole numbers as a tuple."""
    held = _numbers(name, numbers, Integral, "whole numbers, as (1, 8, 32)")
    return tuple(int(number) for number in held)


def as_numbers(name: str, numbers: Iterable[float]) -> tuple[float, ...]:
    """Several numbers as a tuple."""
    held = _numbers(name, numbers, Real, "numbers, as (0.5, 0.75)")
    return tuple(float(number) for number in held)


def _numbers(name: str, numbers: Any, kind: type, takes: str) -> tuple[Any, ...]:
    if isinstance(numbers, str) or not isinstance(numbers, Iterable):
        raise wrong_type(name, numbers, takes)
    held = tuple(numbers)
    for number in held:
        if not isinstance(number, kind) or isinstance(number, bool):
            raise wrong_type(name, number, takes)
    return held


def as_report(name: str, report: ReportLike | None) -> Path | Mapping[str, Any] | None:
    """A report as its path, or as the dict that it is."""
    if report is None or isinstance(report, Mapping):
        return report
    if isinstance(report, (str, os.PathLike)):
        return Path(report)
    from reprune_onnx.pruner.earlier import report_dict

    return report_dict(report, name)


def as_data(name: str, data: DataLike | None) -> str | InMemory | None:
    """Data by their text, or as what is in memory."""
    if data is None or isinstance(data, str):
        return data
    if isinstance(data, os.PathLike):
        return str(Path(data))
    return data if isinstance(data, InMemory) else InMemory(name, data)


def as_criterion(name: str, method: MethodLike) -> Method | Criterion:
    """A criterion by its name, or as a row of one's own."""
    takes = "a name such as 'reprune', or a function select(problem, …)"
    return cast(Method | Criterion, _word_or_row(name, method, Method, Criterion, takes))


def as_recovery(name: str, method: RecoverLike) -> Recover | RecoveryMethod:
    """A recovery method by its name, or as a row of one's own."""
    takes = "a name such as 'data-free', or a function of the work"
    return cast(
        Recover | RecoveryMethod, _word_or_row(name, method, Recover, RecoveryMethod, takes)
    )


def _word_or_row(name: str, value: object, words: Any, row: type[Any], takes: str) -> object:
    """One of ``words``, a ``row``, or the row of a function; ArgumentError for anything else."""
    if isinstance(value, str) and value not in get_args(words):
        raise UsageError(f"--{name} '{value}' is not one of {', '.join(get_args(words))}")
    if isinstance(value, (str, row)):
        return value
    if not callable(value):
        raise wrong_type(name, value, takes)
    return row(value)


def words_of_widths(texts: list[str] | None) -> tuple[tuple[str, int], ...]:
    """``GLOB=N``, given any number of times."""
    pairs = []
    for text in texts or ():
        glob, equals, number = text.rpartition("=")
        digits = number.isascii() and number.isdigit() and len(number) < 19
        if not equals or not glob or not digits:
            raise UsageError(f"--layer '{text}' is not GLOB=N, such as '*conv1*=16'")
        pairs.append((glob, int(number)))
    return tuple(pairs)


def words_of_shapes(texts: list[str] | None) -> dict[str, tuple[int, ...]]:
    """``NAME=1,3,224,224``, given any number of times."""
    from reprune_onnx.shapes import parse_input_shapes

    return parse_input_shapes(texts or [])


INPUT_SHAPE = Option(
    "Size of an input that the file leaves open; repeatable. Default: batch 1, sides 224, or"
    " sizes that fit.",
    "NAME=1,3,224,224",
    ("--input-shape",),
    words=list[str],
    read=words_of_shapes,
)
"""The option of every command for the sizes of inputs."""


def _pairs(name: str, given: Any, takes: str) -> list[tuple[Any, Any]]:
    items = given.items() if isinstance(given, Mapping) else given
    if isinstance(items, str) or not isinstance(items, Iterable):
        raise wrong_type(name, given, takes)
    pairs = [tuple(item) if isinstance(item, (tuple, list)) else (item,) for item in items]
    for pair in pairs:
        if len(pair) != 2:
            raise wrong_type(name, given, takes)
    return [(key, value) for key, value in pairs]
