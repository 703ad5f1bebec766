"""Device targets: what a device wants of a model, one TOML file each.

The files of `deploy/targets/` are shipped; a path to a file of one's own serves as well.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reprune_onnx.errors import UsageError
from reprune_onnx.rounding import Rounding

_PACKAGE = Path(__file__).parent
_FOLDERS = (_PACKAGE / "deploy" / "targets", _PACKAGE.parent / "deploy" / "targets")
"""Where a wheel has them, and where a source tree has them."""


@dataclass(frozen=True)
class Target:
    """A device: its ``precisions``, the default first, and how it wants widths rounded in each."""

    name: str
    description: str
    precisions: tuple[str, ...]
    rounding: Mapping[str, Rounding]

    def rounding_in(self, precision: str | None) -> Rounding:
        """Return the rounding in a precision; UsageError where the device does not have it."""
        chosen = self.precisions[0] if precision is None else precision
        if chosen not in self.precisions:
            raise UsageError(
                f"the target {self.name} has no {chosen}; it has {' and '.join(self.precisions)}"
            )
        return self.rounding.get(chosen, Rounding())


def target_names() -> list[str]:
    """Return the names of the targets that are shipped."""
    return sorted(path.stem for path in _shipped())


def read_target(name: str) -> Target:
    """Return the target of that name, or of a file ``name`` that ends in .toml.

    Raises UsageError where there is none, or where the file does not describe one.
    """
    path = next((p for p in _shipped() if p.stem == name), None)
    if path is None and name.endswith(".toml"):
        path = Path(name)
    if path is None or not path.is_file():
        import difflib

        known = target_names()
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise UsageError(
            f"--target '{name}' is not known: {hint} (or give a .toml file of your own)"
        )
    try:
        return _target(path.stem, _parsed(path))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"'{path}' does not describe a target: {reason}") from error


def _shipped() -> list[Path]:
    return next((found for f in _FOLDERS if (found := list(f.glob("*.toml")))), [])


def _parsed(path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    fields: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    return fields


def _target(name: str, fields: Mapping[str, Any]) -> Target:
    precisions = tuple(fields["precisions"])
    if not precisions or not all(isinstance(p, str) for p in precisions):
        raise ValueError("'precisions' must be a list of names")
    multiples, narrow = fields["multiples"], fields.get("narrow", {})
    for table in (multiples, narrow):
        for key, value in table.items():
            if key not in precisions:
                raise ValueError(f"'{key}' is not among its precisions")
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"'{key} = {value}' is not a number of channels")
    rounding = {p: Rounding(n, narrow.get(p)) for p, n in multiples.items()}
    return Target(name, str(fields.get("description", "")), precisions, rounding)
