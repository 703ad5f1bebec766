"""An earlier selection, read from the cuts of its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any, cast

import numpy as np

from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.arguments import wrong_type
from reprune_onnx.errors import SelectionError
from reprune_onnx.json_text import parse_json
from reprune_onnx.report.fields import Report, ReportLike
from reprune_onnx.results import TensorCut
from reprune_onnx.types import Bools, ChannelMap, Ints, LockKind, Selection

_NEXT: dict[LockKind, str] = {
    "residual": "; try --residual prune",
    "scope": "; give the --include and --exclude of that pruning",
}
"""The next step for channels that an option keeps."""


@dataclass(frozen=True)
class EarlierReport:
    """The selection that a report states: the cuts, the source's hash, the settings.

    ``turned``: it cuts axes that the file does not have, see `check_basis`.
    """

    cuts: tuple[TensorCut, ...]
    source_sha256: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    turned: bool = False


def read_report(path: str | PathLike[str]) -> Report:
    """Read the report that `prune` wrote; SelectionError for what is none."""
    report = report_dict(path)
    earlier_report(report)
    return cast(Report, report)


def report_dict(report: ReportLike, argument: str = "report") -> Mapping[str, Any]:
    """The fields of a report that is given in any form.

    Raises ArgumentError, which names the ``argument``, where it is in none, and SelectionError
    for a file that cannot be read.
    """
    report = getattr(report, "report", report)
    if isinstance(report, Mapping):
        return report
    if not isinstance(report, (str, PathLike)):
        raise wrong_type(argument, report, "a path, the dict of a report, or what prune returned")
    try:
        fields = parse_json(Path(report).read_text(encoding="utf-8"))
    except OSError as error:
        raise SelectionError(
            f"cannot read the report '{report}': {error.strerror or error}; give the one that prune"
            " wrote beside its OUT"
        ) from error
    except ValueError as error:
        raise _no_report(str(report)) from error
    if not isinstance(fields, Mapping):
        raise _no_report(str(report))
    return fields


def earlier_report(report: ReportLike | EarlierReport, argument: str = "report") -> EarlierReport:
    """Read the selection of a report, or of any JSON with "cuts"; SelectionError for others."""
    if isinstance(report, EarlierReport):
        return report
    fields = report_dict(report, argument)
    try:
        cuts = tuple(
            TensorCut(
                str(c["initializer"]),
                int(c["axis"]),
                _indices(c["keep"]),
                c.get("source"),
            )
            for c in fields["cuts"]
        )
        source, settings = fields.get("source", {}), fields.get("settings", {})
        sha256, turned = str(source.get("sha256", "")), bool(fields.get("turned"))
        return EarlierReport(cuts, sha256, dict(settings), turned)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise _no_report(report_name(report, argument)) from error


def report_name(report: object, argument: str = "report") -> str:
    """The name of a report in messages: that of its file, or that of the argument."""
    return str(report) if isinstance(report, (str, PathLike)) else argument


def _no_report(name: str) -> SelectionError:
    return SelectionError(
        f"'{name}' is not a report of this tool: it needs \"cuts\", a list of"
        ' {"initializer", "axis", "keep"} with ascending indices in "keep"'
    )


def _indices(values: list[int]) -> Ints:
    if any(type(value) is not int or value < 0 for value in values):
        raise ValueError("not indices")
    if any(a >= b for a, b in pairwise(values)):
        raise ValueError("not ascending")
    return np.array(values, dtype=np.int64)


def earlier_selection(
    graph: Graph, channels: ChannelMap, report: Path | Mapping[str, Any]
) -> Selection:
    """Return what a report, at a path or in memory, has selected.

    Raises as `keep_by_cuts` does.
    """
    earlier = earlier_report(report, "keep")
    title = Path(report_name(report, "keep")).name
    check_basis(earlier, title)
    return Selection(keep_by_cuts(graph, channels, earlier.cuts, title))


def check_basis(report: EarlierReport, title: str) -> None:
    """Raise SelectionError for a report whose cuts mean nothing to the weights of the file."""
    if report.turned:
        raise SelectionError(
            f"'{title}' is of a pruning that cut axes of another basis, not channels of the file:"
            " prune again with --basis file"
        )


def keep_by_cuts(
    graph: Graph, channels: ChannelMap, cuts: Sequence[TensorCut], title: str
) -> Bools:
    """Which units stay ``(n_units,)`` so that the cuts come about.

    The cuts of the layers' output channels are enough; what is coupled follows. Raises
    SelectionError where the cuts do not fit the model, or drop channels that must stay.
    """
    keep = np.ones(channels.n_units, dtype=np.bool_)
    for cut in cuts:
        name = cut.source or cut.initializer
        along = [s for s in channels.sites if s.axis == cut.axis]
        sites = [s for s in along if s.tensor == name]
        sites = sites or [s for s in along if graph.origin(s.tensor) == name]
        if not sites:
            raise SelectionError(
                f"'{title}' cuts axis {cut.axis} of '{name}', which has no channels that could go"
            )
        for site in sites:
            n = len(site.ids)
            if len(cut.keep) and cut.keep[-1] >= n:
                raise SelectionError(
                    f"'{title}' keeps row {cut.keep[-1]} of axis {cut.axis} of '{name}', which"
                    f" has {n} rows: it belongs to another model"
                )
        if len(sites) == 1 or cut.source is None:
            keep[np.delete(sites[0].ids, cut.keep)] = False
    _check(channels, keep, title)
    return keep


def _check(channels: ChannelMap, keep: Bools, title: str) -> None:
    within = {i for branch in channels.branches_gone(keep) for i in branch.groups}
    unread = np.concatenate([np.empty(0, int), *(channels.groups[i].units for i in within)])
    for lock in channels.locks:
        gone = np.setdiff1d(lock.ids[~keep[lock.ids]], unread)
        if len(gone):
            raise SelectionError(
                f"'{title}' drops {len(gone)} channels that must stay: {lock.reason}"
                f" (at '{lock.node}'){_NEXT.get(lock.kind, '')}"
            )
    for g in channels.groups:
        if g.id in within:
            continue
        parts = [np.arange(g.n), *g.nonempty]
        if any(not keep[g.units[part]].any() for part in parts):
            name = g.producers[0].layer.name
            raise SelectionError(
                f"'{title}' leaves no channel of a part of '{name}': keep at least one there"
            )
