"""The notes of a report that tell of the cut: what it changed beside the channels."""

from __future__ import annotations

from reprune_onnx.analyzer.dense import sparse_tensors
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.note import Note
from reprune_onnx.results import PruneRecord
from reprune_onnx.types import Bools, ChannelMap, Model


def notes_of_cut(record: PruneRecord) -> list[Note]:
    """Return notes on the order of nodes, sparse tensors, norms, turned streams, whole branches."""
    keep = record.selection.keep
    return [
        *_order_note(record.source),
        *_dense_note(record.source, keep),
        *_statistics_note(record.graph, record.channels, keep),
        *_turned_note(record),
        *_removed_note(record),
    ]


def _order_note(source: Model) -> list[Note]:
    if not source.moved:
        return []
    return [
        Note(
            f"{source.moved} node{'s' * (source.moved != 1)} of the file stood behind nodes that"
            " read what they make: OUT holds all nodes in order"
        )
    ]


def _dense_note(source: Model, keep: Bools) -> list[Note]:
    names = [name for name, _ in sparse_tensors(source.proto)]
    if not names or keep.all():
        return []
    n, several = len(names), len(names) > 1
    return [
        Note(
            f"{n} sparse tensor{'s' * several} of the file, such as '{names[0]}',"
            f" {'are' if several else 'is'} cut and written dense"
        )
    ]


def _statistics_note(graph: Graph, channels: ChannelMap, keep: Bools) -> list[Note]:
    nodes = [
        graph.ops[s.node].title for s in channels.statistics if 0 < keep[s.ids].sum() < len(s.ids)
    ]
    if not nodes:
        return []
    n = len(nodes)
    return [
        Note(
            f"{n} node{'s' * (n != 1)}, such as {nodes[0]}, take{'s' * (n == 1)} statistics over"
            " the channels that are left, and so does the masked original that the cut is compared"
            " with (--norm-statistics kept)"
        )
    ]


def _turned_note(record: PruneRecord) -> list[Note]:
    if not record.streams:
        return []
    n = len(record.streams)
    return [
        Note(
            f"{n} residual stream{'s' * (n != 1)}, of {', '.join(str(s.n) for s in record.streams)}"
            f" channels, lost axes of another basis instead of channels: the cuts of this report"
            " hold for no other weights (--basis file cuts channels)"
        )
    ]


def _removed_note(record: PruneRecord) -> list[Note]:
    branches = record.channels.branches_gone(record.selection.keep)
    if not branches:
        return []
    n, ends = len(branches), [record.graph.ops[b.closing[0]].title for b in branches]
    what = (
        "1 branch went as a whole, and a constant stands"
        if n == 1
        else (f"{n} branches went as a whole, and constants stand")
    )
    which = ends[0] if n == 1 else f"{ends[0]} … {ends[-1]}"
    asked = any(n == 0 for _, n in record.settings.layer)
    hint = "" if asked else " (--min-channels 1 keeps every layer)"
    return [Note(f"{what} in the place of {which}{hint}")]
