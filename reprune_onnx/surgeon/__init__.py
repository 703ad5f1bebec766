"""The graph surgeon: one generic cut, a `take` along an axis of every constant that has a site.

First everything is decided (`plan`), then a copy of the model is edited. onnx-graphsurgeon makes
the new tensors and attributes; they are put into the original's own protobuf, so that whatever is
not cut (names, order, opset, IR version, doc strings, functions, metadata) stays as it was; only
``training_info`` goes, which speaks of the weights as they were.
"""

from __future__ import annotations

from collections.abc import Sequence

from reprune_onnx.analyzer.fold import folded
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.model import copy_emptied
from reprune_onnx.results import Cut
from reprune_onnx.surgeon.edit import Surgery
from reprune_onnx.surgeon.plan import (
    attributes,
    edits_of,
    measured,
    missing_sizes,
    uses_by_constant,
    written,
)
from reprune_onnx.surgeon.whole_branches import cuts_of, take_out
from reprune_onnx.types import Bools, ChannelMap, Model, WholeBranch


def cut(model: Model, graph: Graph, channels: ChannelMap, keep: Bools) -> Cut:
    """Cut every unit out of ``model`` that ``keep (n_units,)`` does not keep.

    The result computes exactly what the original computes with its consumers' input slices zeroed
    at the dropped channels; `verify` proves it. ``model`` is not changed. Its ``graph``, which
    ``channels`` describe, is what is cut: local functions of ``model`` are written out there.
    Branches of If, which stand beside it there, are its bodies again in the result. Residual
    branches of which no channel stays are taken out as a whole (`whole_branches`).
    """
    if keep.all():
        return Cut(Model(copy_emptied(model.proto, ()), model.path), (), ())
    branches = channels.branches_gone(keep)
    if branches:
        keep = _without_these(channels, branches, keep)
    edits = edits_of(graph, channels, keep)
    uses = uses_by_constant(graph, edits)
    replaced = {name for name, by_use in uses.items() if all(edit for edit in by_use.values())}
    proto = copy_emptied(graph.proto, replaced)
    surgery = Surgery(proto, graph)
    for name, by_use in uses.items():
        surgery.edit_constant(name, by_use)
    for node, extents in measured(graph, edits):
        surgery.write_extents(node, extents)
    for node, attribute, counts in attributes(channels, keep):
        surgery.edit_attribute(node, attribute, counts)
    for node, i, sizes in missing_sizes(graph, channels, keep):
        surgery.add_sizes(node, i, sizes)
    for (node, i), (numbers, fixed) in written(channels, keep).items():
        surgery.write_down(node, i, numbers, fixed)
    surgery.remove_unused()
    surgery.update_shapes(channels.tensors, keep)
    proto.ClearField("training_info")  # it starts and updates the weights as they were
    cuts = surgery.cuts
    if branches:
        take_out(proto, graph, channels, branches)
        left = {t.name for t in proto.graph.initializer}
        left |= {name for node in proto.graph.node for name in node.output}
        cuts = cuts_of(channels, branches, cuts, left)
    return Cut(Model(folded(proto), model.path), tuple(cuts), tuple(surgery.rewrites))


def _without_these(channels: ChannelMap, branches: Sequence[WholeBranch], keep: Bools) -> Bools:
    """The units that stay, where those of branches that are taken out afterwards are not cut."""
    keep = keep.copy()
    for branch in branches:
        for i in branch.groups:
            keep[channels.groups[i].units] = True
    return keep
