"""The names of a model's classes, in the order of its outputs: from a file or the model itself."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from reprune_onnx import unreadable
from reprune_onnx.errors import DataError
from reprune_onnx.json_text import parse_json

_KEYS = ("names", "labels", "classes", "class_names", "id2label")
_NUMBERED = re.compile(r"""\s*["']?(\d+)["']?\s*:\s*(.+?)\s*,?\s*""")
_ITEM = re.compile(r"\s*-\s+(.+?)\s*")
_MOST = 1 << 24  # bytes: a file of names is small


@dataclass(frozen=True)
class ClassNames:
    """``names`` of the classes, from 0; ``source`` is what messages call where they come from.

    Where they are ``asked`` for (``--classes``) every folder has to be among them.
    """

    names: tuple[str, ...]
    source: str
    asked: bool

    def numbers(self, folders: Sequence[str], name: str) -> dict[str, int] | None:
        """Return the class number of each folder; None where the names are not the folders'.

        A folder is called like a class, or like the first word of its name, as in
        ``n01440764 tench``. DataError where names that were asked for lack a folder.
        """
        places: dict[str, list[int]] = {}
        for i, word in enumerate(self.names):
            for called in {word, *word.split(maxsplit=1)[:1]}:
                places.setdefault(called, []).append(i)
        for word in self.names:  # the whole name counts before a first word
            places[word] = [k for k in places[word] if self.names[k] == word]
        unknown = [folder for folder in folders if len(places.get(folder, [])) != 1]
        if not unknown:
            return {folder: places[folder][0] for folder in folders}
        if not self.asked:
            return None
        if unknown[0] in places:
            raise DataError(
                f"{name}: folder '{unknown[0]}' is the name of {len(places[unknown[0]])} classes in"
                f" {self.source}; give each class a name of its own"
            )
        raise DataError(
            f"{name}: folder '{unknown[0]}' is not among the {len(self.names)} classes of"
            f" {self.source} ('{self.names[0]}' to '{self.names[-1]}'); add its name there, or"
            " rename the folder"
        )


def read_class_names(path: Path) -> ClassNames:
    """Read ``--classes FILE``: a name per line, or a list or a mapping {number: name}.

    A mapping may be JSON, or YAML as data files have it (``names:`` and lines ``0: person`` or
    ``- person``). DataError where the file cannot be read, or where the numbers are not 0 to n − 1.
    """
    try:
        if path.stat().st_size > _MOST:
            raise DataError(f"--classes '{path}' has more than 16 MiB: give a text file of names")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = unreadable.reason(error)
        raise DataError(f"--classes '{path}' cannot be read: {reason}") from error
    what = f"--classes '{path}'"
    parsed = _literal(text)
    if isinstance(parsed, Mapping) and "names" in parsed:
        parsed = parsed["names"]
    if not isinstance(parsed, Mapping | list | tuple):
        parsed = _lines(text)
    return ClassNames(numbered_names(parsed, what), what, asked=True)


def class_names_for(path: Path | None, proto: onnx.ModelProto) -> ClassNames | None:
    """The names of ``--classes``, else those that the model's metadata holds, if any."""
    return model_class_names(proto) if path is None else read_class_names(path)


def model_class_names(proto: onnx.ModelProto) -> ClassNames | None:
    """Return the names that a model's metadata holds (``names`` of Ultralytics, ``labels``, …).

    None where it holds none, or none that can be read: an exporter may mean anything by the key.
    """
    metadata = {prop.key.lower(): prop.value for prop in proto.metadata_props}
    for key in _KEYS:
        parsed = _literal(metadata.get(key, ""))
        if isinstance(parsed, Mapping | list | tuple) and parsed:
            try:
                return ClassNames(
                    numbered_names(parsed, key), f"the model's metadata '{key}'", asked=False
                )
            except DataError:
                continue
    return None


def _literal(text: str) -> object:
    """Return what JSON or a Python literal says; None for anything else."""
    for parse in (parse_json, ast.literal_eval):
        try:
            parsed: object = parse(text.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
        return parsed
    return None


def _lines(text: str) -> Mapping[str, str] | list[str]:
    """Return a list of lines, or what stands below ``names:`` as a mapping or a list."""
    lines = [line for line in text.splitlines() if line.strip()]
    heads = [i for i, line in enumerate(lines) if re.match(r"names\s*:", line)]
    if heads and (flow := re.fullmatch(r"names\s*:\s*\[(.*)\]\s*", lines[heads[0]])):
        return [word.strip().strip("\"'") for word in flow[1].split(",") if word.strip()]
    if heads:
        below = lines[heads[0] + 1 :]
        ends = [i for i, line in enumerate(below) if line[0] not in " -\t"]
        lines = below[: min(ends, default=len(below))]
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    if lines and all(numbered):
        return {m[1]: m[2].strip("\"'") for m in numbered if m}
    items = [_ITEM.fullmatch(line) for line in lines]
    if lines and all(items):
        return [m[1].strip("\"'") for m in items if m]
    return [line.strip() for line in lines]


def numbered_names(parsed: Mapping[Any, Any] | Sequence[Any], what: str) -> tuple[str, ...]:
    """Return the names of a list or of {number: name} in the order of their numbers.

    DataError, which calls them ``what``, where there are none or these are not 0 to n − 1.
    """
    if isinstance(parsed, Mapping):
        try:
            by_number = {int(number): str(name) for number, name in parsed.items()}
        except (TypeError, ValueError):  # {name: number} is as common
            by_number = _turned(parsed, what)
        if sorted(by_number) != list(range(len(by_number))):
            raise DataError(f"{what}: the numbers of {len(by_number)} classes are not 0 to n - 1")
        names = tuple(by_number[i] for i in range(len(by_number)))
    else:
        names = tuple(str(name) for name in parsed)
    if not names:
        raise DataError(f"{what} names no classes; write one name a line")
    return names


def _turned(parsed: Mapping[object, object], what: str) -> dict[int, str]:
    try:
        return {int(str(number)): str(name) for name, number in parsed.items()}
    except ValueError as error:
        raise DataError(f"{what}: a class has no number; write {{number: name}}") from error
