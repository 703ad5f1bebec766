"""Device targets: what a device wants of a model, one TOML file each.

The files of `deploy/targets/` are shipped; a path to a file of one's own serves as well.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from reprune_onnx import near
from reprune_onnx.errors import UsageError
from reprune_onnx.limits import Limits, parser_tables, read_limits
from reprune_onnx.rounding import Rounding

_PACKAGE = Path(__file__).parent
_FOLDERS = (_PACKAGE / "deploy", _PACKAGE.parent / "deploy")
"""Where a wheel has what `deploy/` holds, and where a source tree has it."""

Builder = Literal["onnxruntime", "tensorrt", "trtexec"]


@dataclass(frozen=True)
class Build:
    """The build of an engine: ``builder`` runs or builds it, ``tensorrt`` is its version.

    ``sm`` is the GPU's compute capability; ``cores`` are the CPU cores to pin, as `taskset` has it.
    ``workspace`` and ``build_only`` are flags of that release's `trtexec`.
    """

    builder: Builder = "onnxruntime"
    tensorrt: str = ""
    sm: str = ""
    jetpack: str = ""
    cores: str = ""
    workspace: str = ""
    build_only: str = ""


@dataclass(frozen=True)
class Target:
    """A device: its ``precisions``, the default first, and how it wants widths rounded in each."""

    name: str
    description: str
    precisions: tuple[str, ...]
    rounding: Mapping[str, Rounding]
    limits: Limits = field(default_factory=Limits)
    build: Build = field(default_factory=Build)

    def precision(self, wanted: str | None) -> str:
        """Return the precision, by default the first; UsageError where the device lacks it."""
        chosen = self.precisions[0] if wanted is None else wanted
        if chosen not in self.precisions:
            raise UsageError(
                f"the target {self.name} has no {chosen}; it has {' and '.join(self.precisions)}"
            )
        return chosen

    def rounding_in(self, precision: str | None) -> Rounding:
        """Return the rounding in a precision; UsageError where the device does not have it."""
        return self.rounding.get(self.precision(precision), Rounding())


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
        names = target_names()
        raise UsageError(
            f"--target '{name}' is not known{near.hint(name, names)}; give one of"
            f" {', '.join(names)}, or a .toml file of your own"
        )
    try:
        return _target(path.stem, _parsed(path))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"'{path}' does not describe a target: {reason}") from error


def shipped_folder(name: str) -> Path:
    """Return the folder ``name`` of `deploy/`, in a wheel or in a source tree."""
    return next(path for folder in _FOLDERS if (path := folder / name).is_dir())


def _shipped() -> list[Path]:
    return list(shipped_folder("targets").glob("*.toml"))


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
            if type(value) is not int or not 1 <= value < 2**31:
                raise ValueError(f"'{key} = {value}' is not a number of channels")
    rounding = {p: Rounding(n, narrow.get(p)) for p, n in multiples.items()}
    build = {"builder" if k == "with" else k: v for k, v in fields.get("build", {}).items()}
    return Target(
        name,
        str(fields.get("description", "")),
        precisions,
        rounding,
        read_limits(fields.get("onnx", {}), parser_tables(shipped_folder("parsers"), _parsed)),
        _build(build),
    )


def _build(fields: Mapping[str, Any]) -> Build:
    if not all(isinstance(value, str) for value in fields.values()):
        raise ValueError("all values of [build] are texts")
    build = Build(**fields)
    if build.builder not in get_args(Builder):
        raise ValueError(f"'with = {build.builder}' is not one of {', '.join(get_args(Builder))}")
    return build
