"""The files that a page is made from: read, told apart, and checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reprune_onnx import unreadable
from reprune_onnx.errors import DataError
from reprune_onnx.json_text import parse_json

SCHEMA = 1

_NUMBER = (int, float)
_MAYBE = (int, float, type(None))
_TEXT = (str, type(None))
_WORDS = (list, type(None))
_COST = {"params": _NUMBER, "macs": _NUMBER, "bytes": _NUMBER, "channels": _NUMBER}
_ACHIEVED = {"macs_reduction": _NUMBER, "params_reduction": _NUMBER}
_FIELDS: dict[str, Any] = {
    "prune": {
        "source": {"path": str},
        "settings": dict,
        "before": _COST,
        "after": _COST,
        "requested": dict,
        "achieved": _ACHIEVED,
        "layers": [
            {"node": str, "out_channels": [_NUMBER], "sparsity": _NUMBER, "coverage": _MAYBE}
        ],
        "cuts": list,
        "locked": [{"node": str, "channels": _NUMBER, "reason": str}],
    },
    "training": {
        "settings": dict,
        "source": {"path": str},
        "epochs": [{"epoch": _NUMBER}],
        "command": _WORDS,
    },
    "bench": {
        "backend": str,
        "rows": [
            {
                "model": str,
                "batch_size": _NUMBER,
                "images_per_s": _NUMBER,
                "latency_ms": {"median": _NUMBER, "p90": _NUMBER, "iqr": _NUMBER},
            }
        ],
    },
    "sweep": {
        "model": str,
        "rows": [{"method": str, "macs_reduction": _NUMBER}],
        "command": _WORDS,
    },
    "analysis": {
        "model": str,
        "summary": {"largest_macs_reduction": _NUMBER},
        "locked": [{"node": str, "channels": _NUMBER, "reason": str}],
    },
    "evaluation": {"n": _NUMBER, "top1": _MAYBE, "top5": _MAYBE, "agreement": _MAYBE},
}
_SIGNS = {
    "prune": ("cuts", "layers"),
    "training": ("epochs", "result"),
    "bench": ("rows", "machine"),
    "sweep": ("rows", "data"),
    "analysis": ("groups", "summary"),
    "evaluation": ("n", "agreement"),
}
_MADE_BY = "prune, finetune, train, evaluate, analyze, sweep, bench"


@dataclass(frozen=True)
class ReportFile:
    """A file and what it holds."""

    path: Path
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Sources:
    """All files, in the order they were given, and by kind."""

    files: tuple[Path, ...]
    by_kind: Mapping[str, Sequence[ReportFile]]

    def of(self, kind: str) -> Sequence[ReportFile]:
        """Those of one kind."""
        return self.by_kind.get(kind, ())


def read_sources(files: Iterable[Path]) -> Sources:
    """Read result files. Raises DataError for a file that is none, or of another schema."""
    files = tuple(files)
    sources: dict[str, list[ReportFile]] = {}
    for path in files:
        data = _read(path)
        kind = next((k for k, signs in _SIGNS.items() if all(s in data for s in signs)), None)
        if kind is None:
            raise DataError(
                f"'{path}' is no result that a report shows: give JSON files that {_MADE_BY} or a"
                " bundle wrote"
            )
        if data.get("schema", SCHEMA) != SCHEMA:
            raise DataError(
                f"'{path}' has schema {data['schema']!r}, and this version reads schema {SCHEMA}:"
                " make the file anew, or take the version of reprune-onnx that wrote it"
            )
        _check(path, "", data, _FIELDS[kind])
        sources.setdefault(kind, []).append(ReportFile(path, data))
    return Sources(files, sources)


def _read(path: Path) -> dict[str, Any]:
    try:
        data = parse_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read '{path}': {unreadable.reason(error)}") from error
    except ValueError as error:
        raise DataError(f"'{path}' is not JSON: {unreadable.reason(error)}") from error
    if not isinstance(data, dict):
        raise DataError(f"'{path}' holds no JSON object: give a file that {_MADE_BY} wrote")
    return data


def _check(path: Path, where: str, value: Any, wanted: Any) -> None:
    """DataError for the first field that is missing or of another type."""
    if isinstance(wanted, dict):
        _expect(path, where, value, dict)
        for name, inner in wanted.items():
            if name not in value and inner not in (_MAYBE, _TEXT, _WORDS):
                raise DataError(f"'{path}' is damaged: {where or 'the file'} has no '{name}'")
            _check(path, f"{where}.{name}".lstrip("."), value.get(name), inner)
    elif isinstance(wanted, list):
        _expect(path, where, value, list)
        for k, part in enumerate(value):
            _check(path, f"{where}[{k}]", part, wanted[0])
    else:
        _expect(path, where, value, wanted)


def _expect(path: Path, where: str, value: Any, kind: Any) -> None:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind in (_NUMBER, _MAYBE)):
        raise DataError(f"'{path}' is damaged: '{where}' is {str(value)[:40]!r}")
