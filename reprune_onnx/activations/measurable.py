"""In which form a model with branches of If is measured on images."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from reprune_onnx.activations.stretch import Arrays
from reprune_onnx.analyzer.fold import folded
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.analyzer.hoist import hoisted
from reprune_onnx.errors import ModelError
from reprune_onnx.note import Note
from reprune_onnx.precision import as_float32
from reprune_onnx.runtime.ort import Session
from reprune_onnx.types import ChannelMap, Model


def measurable(model: Model, images: Sequence[Arrays]) -> Model:
    """The model with all branches of If beside them, if all run on every batch of ``images``.

    Every branch sees every image then, also those for which the file takes the other one. Else it
    is the model with branches in their bodies, where nothing in them can be measured. One batch
    does not tell: a branch may be for a certain number of images, and the last batch has fewer.
    """
    side_by_side = hoisted(model)
    if side_by_side.proto is folded(side_by_side.proto):
        return side_by_side
    try:
        session = Session(as_float32(side_by_side.proto), optimize=False)
        for feeds in images:
            session.run(feeds)
    except ModelError:
        return Model(folded(side_by_side.proto), model.path)
    return side_by_side


def measured_names(proto: onnx.ModelProto) -> set[str]:
    """The tensors of the main graph, which alone can be looked at."""
    names = {value.name for value in proto.graph.input}
    return names | {name for node in proto.graph.node for name in node.output if name}


def told(seen: Model, graph: Graph, channels: ChannelMap) -> tuple[Note, ...]:
    """The notes for the user on how layers in branches were measured."""
    inside = [x for x in channels.layers if graph.branch_of(graph.ops[x.node])]
    if not inside:
        return ()
    n = f"{len(inside)} layer{'s' * (len(inside) != 1)} in branches of If"
    names = measured_names(seen.proto)
    if all(graph.ops[x.node].result in names for x in inside):
        return (Note(f"{n} saw all images, also those for which the other branch is taken"),)
    return (
        Note(
            f"{n} could not be measured, as not all branches run on the images: they get no new"
            " values from images, and lose channels by their weights alone (--allocation uniform or"
            " bn-gamma)"
        ),
    )
