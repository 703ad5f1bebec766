"""The limits of a device's parser: versions, types, ops, and the parts of ops that it lacks.

The tables of `deploy/parsers/` are those of the parsers that targets share, one TOML file each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import onnx

Types = Literal["file", "flags"]
Values = Mapping[str, tuple[Any, ...]]

_RESIZING = ("Resize", "Upsample")
_OWN = ("unsupported", "plugins", "lacks")  # what a target adds to its parser's; else it replaces


@dataclass(frozen=True)
class Lack:
    """A lack of a parser for an op: ``says`` describes it, of a node that meets all conditions.

    ==========  =====================================================================
    `ops`       the node is one of these; any, where none is named, except ``but``
    `computed`  one of these inputs depends on the graph's inputs
    `given`     something reads one of these outputs
    `reads`     an activation that it reads has one of these element types
    `makes`     a tensor that it makes has one of these element types
    `touches`   either of the two
    `inside`    either, and the tensor is no input or output of the graph
    `where`     an attribute has one of these values
    `unless`    an attribute has none of these values
    ==========  =====================================================================

    In ``says``, ``{attribute}`` stands for the value that one of the last two has.
    """

    says: str
    ops: tuple[str, ...] = ()
    but: tuple[str, ...] = ()
    computed: tuple[int, ...] = ()
    given: tuple[int, ...] = ()
    reads: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    touches: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    where: Values = field(default_factory=dict)
    unless: Values = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """The limits of a device. ``opset`` and ``ir`` are the highest that it reads; None: no limit.

    ``types`` says where a precision is stated: in the ``file``, or in ``flags`` when an engine is
    built. ``constants``: inputs that do not depend on the graph's inputs must be initializers.
    ``unsupported`` are ops it lacks, ``lacks`` its gaps in others, ``resize_modes`` the modes of
    Resize that it has, if not all. ``plugins`` are ops that it has beside ONNX's, by name: the
    parsers of TensorRT do not look at the domain. ``runtime``: ONNX Runtime runs the file, so what
    it has here it has there.
    """

    opset: int | None = None
    ir: int | None = None
    types: Types = "file"
    constants: bool = False
    unsupported: tuple[str, ...] = ()
    resize_modes: tuple[str, ...] | None = None
    plugins: tuple[str, ...] = ()
    runtime: bool = False
    lacks: tuple[Lack, ...] = ()

    @property
    def rows(self) -> tuple[Lack, ...]:
        """All that is lacking of ops that it has, the modes of Resize among them."""
        if self.resize_modes is None:
            return self.lacks
        says = f"its mode '{{mode}}' is not there; use {' or '.join(self.resize_modes)}"
        modes = Lack(says, ops=_RESIZING, unless={"mode": self.resize_modes})
        return (modes, *self.lacks)


def read_limits(fields: Mapping[str, Any], parsers: Mapping[str, Mapping[str, Any]]) -> Limits:
    """Return the limits that the table ``[onnx]`` of a target states.

    ``parser`` names one of ``parsers``: what the target does not say is as in its table, and its
    own ops, plugins and lacks are added to that. Raises ValueError or TypeError for nonsense.
    """
    stated = dict(fields)
    name = stated.pop("parser", None)
    if name is not None and name not in parsers:
        raise ValueError(f"'parser = {name}' is not one of {', '.join(sorted(parsers))}")
    table = {} if name is None else parsers[name]
    added = {key: [*table.get(key, ()), *stated.get(key, ())] for key in _OWN}
    return _limits({**table, **stated, **added})


def parser_tables(folder: Path, parsed: Any) -> dict[str, Mapping[str, Any]]:
    """Return the tables in ``folder`` by name; ``parsed`` reads a TOML file."""
    return {path.stem: parsed(path) for path in folder.glob("*.toml")}


def _limits(fields: Mapping[str, Any]) -> Limits:
    for key in ("opset", "ir"):
        if key in fields and (not isinstance(fields[key], int) or fields[key] < 1):
            raise ValueError(f"'{key} = {fields[key]}' is not a version")
    lists = {k: tuple(v) for k, v in fields.items() if isinstance(v, list)}
    lists["lacks"] = tuple(_lack(row) for row in fields["lacks"])
    limits = Limits(**{**fields, **lists})
    if limits.types not in get_args(Types):
        raise ValueError(f"'types = {limits.types}' is not one of {', '.join(get_args(Types))}")
    return limits


def _lack(row: Mapping[str, Any]) -> Lack:
    lists = {k: tuple(v) for k, v in row.items() if isinstance(v, list)}
    values = {
        k: {name: tuple(among) for name, among in v.items()}
        for k, v in row.items()
        if isinstance(v, dict)
    }
    lack = Lack(**{**row, **lists, **values})
    for kind in (*lack.reads, *lack.makes, *lack.touches, *lack.inside):
        if kind.upper() not in dict(onnx.TensorProto.DataType.items()):
            raise ValueError(f"'{kind}' is no element type of ONNX")
    return lack
