"""Notes on layers that an analysis has not counted, so that nobody takes its figures for all."""

from __future__ import annotations

from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.analyzer.in_bodies import layers_in_bodies, said
from reprune_onnx.note import Note
from reprune_onnx.types import ChannelMap


def missing(graph: Graph, channels: ChannelMap) -> list[Note]:
    """Sentences on layers whose multiply-adds are not counted: of unknown size, or in bodies.

    Also on those of which not all are, in branches of If.
    """
    notes: list[Note] = []
    unknown = [layer.name for layer in channels.layers if not layer.positions]
    if unknown:
        notes.append(
            Note(
                f"the file does not determine the output size of {len(unknown)}"
                f" layer{'s' * (len(unknown) != 1)}, such as '{unknown[0]}': multiply-adds of these"
                " are not counted (--input-shape gives sizes of inputs)"
            )
        )
    if channels.branches:
        n = len(channels.branches)
        notes.append(
            Note(
                f"{n} branch{'es' * (n != 1)} of If hold{'s' * (n == 1)} layers: a run takes one"
                " branch of an If, so the one with more multiply-adds is counted"
            )
        )
    inside = layers_in_bodies(graph)
    if inside:
        notes.append(Note(f"{said(inside)}: no multiply-adds of bodies are counted, and none go"))
    return notes
