"""A .csv or .json beside images that holds the numbers which belong to each."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reprune_onnx import unreadable
from reprune_onnx.data.image_folder import Entry, ImageFile
from reprune_onnx.data.source import Answers
from reprune_onnx.errors import DataError
from reprune_onnx.json_text import parse_json

_FILE_NAMES = ("file", "filename", "file_name", "image", "image_id", "img", "path", "name", "id")
_UNKNOWN = ("", "nan", "na", "null", "none")
_LISTED = 3

Rows = dict[str, list[float]]


def table_of(folder: Path, entries: Sequence[Entry]) -> tuple[tuple[ImageFile, ...], Answers, Path]:
    """Return the images of a folder in sorted order, their rows (n, columns), and the table's path.

    * The table is the only .csv or .json in the folder itself.
    * A CSV has a header. The column called file, filename, image, image_id, path or so, else the
      first, names the image, by its path, its name, or its name without a suffix; the other
      columns are numbers. Empty cells are NaN: not known.
    * A JSON is ``{"a.png": 1.5, "b.png": [0, 1]}``, or a list of objects, read as rows of a CSV
      whose other values may be lists too.

    Raises DataError for an image without a row; rows without an image (of another split) stay out.
    """
    tables = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".csv", ".json"))
    if len(tables) != 1:
        listed = ", ".join(p.name for p in tables) or "none"
        raise DataError(
            f"{folder}: {len(tables)} tables (.csv, .json) beside the images ({listed}), not 1;"
            " give one that names each image and its numbers"
        )
    path = tables[0]
    rows = _READERS[path.suffix.lower()](path)
    files, values, lacking = [], [], []
    for entry in sorted((e for e in entries if e.file is not None), key=lambda e: e.parts):
        row = next((rows[name] for name in _names(entry) if name in rows), None)
        if row is None or entry.file is None:
            lacking.append("/".join(entry.parts))
            continue
        files.append(entry.file)
        values.append(row)
    if lacking:
        listed = ", ".join(lacking[:_LISTED]) + (", …" if len(lacking) > _LISTED else "")
        raise DataError(
            f"{path}: {len(lacking)} of {len(lacking) + len(files)} images have no row ({listed});"
            " add them, or remove these images"
        )
    widths = {len(row) for row in values}
    if len(widths) > 1:
        raise DataError(f"{path}: rows of {sorted(widths)} numbers; give equally many in each")
    return tuple(files), np.array(values, np.float32), path


def _names(entry: Entry) -> Iterable[str]:
    """The names that a table may use for an image."""
    path, name = "/".join(entry.parts), entry.parts[-1]
    return path, path.rpartition(".")[0], name, name.rpartition(".")[0]


def _csv(path: Path) -> Rows:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            records = list(reader)
            header = [name for name in reader.fieldnames or () if name]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV: {unreadable.reason(error)}") from error
    return _rows(path, header, records)


def _json(path: Path) -> Rows:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON: {unreadable.reason(error)}") from error
    if isinstance(content, dict):
        records = [{"file": key, "values": value} for key, value in content.items()]
        return _rows(path, ["file", "values"], records)
    if not isinstance(content, list) or not all(isinstance(r, dict) for r in content):
        raise DataError(f"{path}: neither an object of images nor a list of objects")
    return _rows(path, list(content[0]) if content else [], content)


_READERS = {".csv": _csv, ".json": _json}


def _rows(path: Path, header: list[str], records: list[dict[str, Any]]) -> Rows:
    if len(header) < 2 or not records:
        raise DataError(f"{path}: no rows of a name and a number; write a header and a row each")
    key = next((name for name in header if name.strip().lower() in _FILE_NAMES), header[0])
    rows: Rows = {}
    for record in records:
        name = str(record.get(key) or "").strip().removeprefix("./")
        rows[name] = [
            number
            for column in header
            if column != key
            for number in _numbers(record.get(column), f"{path}: column '{column}' of '{name}'")
        ]
    return rows


def _numbers(value: Any, what: str) -> list[float]:
    if isinstance(value, list):
        return [number for item in value for number in _numbers(item, what)]
    if value is None or (isinstance(value, str) and value.strip().lower() in _UNKNOWN):
        return [math.nan]
    try:
        return [float(value)]
    except (TypeError, ValueError) as error:
        raise DataError(f"{what} is {value!r}, not a number; give numbers, or 0 and 1") from error
