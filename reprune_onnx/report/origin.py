"""The unpruned model that a file was made from, as what lies beside the file tells."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reprune_onnx.errors import ModelError
from reprune_onnx.json_text import parse_json
from reprune_onnx.model import load
from reprune_onnx.types import Model

_TOLD_BY = {".report.json": "source", ".training.json": "teacher"}
"""Files beside a model that name the unpruned one: the end of their name, and the field."""


@dataclass(frozen=True)
class Origin:
    """The unpruned ``model``, and the file ``told_by`` that names it."""

    model: Model
    told_by: Path


def origin_of(path: Path) -> Origin | None:
    """The unpruned model that the file at ``path`` was made from; None where it cannot be had.

    The report of a pruning or the log of a training beside the file names it, by a path as the
    command had it that wrote them. It is looked for from here, from the file's folder, and in that
    folder; only a file with the hash that was written down counts.
    """
    for ending, field in _TOLD_BY.items():
        told_by = path.with_name(f"{path.stem}{ending}")
        try:
            named = parse_json(told_by.read_text(encoding="utf-8"))[field]
            old, sha256 = Path(named["path"]), str(named["sha256"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # nothing lies there, or nothing of this tool
        for place in (old, path.parent / old, path.parent / old.name):
            model = _read(place)
            if model is not None and model.sha256 == sha256:
                return Origin(model, told_by)
    return None


def _read(path: Path) -> Model | None:
    try:
        return load(path) if path.is_file() else None
    except ModelError:
        return None
