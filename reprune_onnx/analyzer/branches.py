"""The branches of If that hold layers: when each runs, at which sizes, and what its layers cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reprune_onnx.analyzer.conditions import Decided, conditions, title_of
from reprune_onnx.analyzer.drafts import LayerDraft, LockDraft
from reprune_onnx.analyzer.fold import folded
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.analyzer.measured_sizes import images_in, run_once, with_positions
from reprune_onnx.analyzer.walk import Walk
from reprune_onnx.errors import KernelError, ModelError
from reprune_onnx.sizes.fitting import fitting_shapes
from reprune_onnx.types import Branch

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Branches:
    """The branches with layers that run, all layers, and why those of other branches stay."""

    running: tuple[Branch, ...]
    layers: list[LayerDraft]
    locks: list[LockDraft]


def branches_of(w: Walk, shapes: Shapes) -> Branches:
    """Run each branch that holds a layer, in a copy of the model that takes it.

    Where it does not run at ``shapes``, other sizes of the inputs are looked for, and it is those
    at which its layers are counted. The layers of a branch that runs at none stay as they are: no
    cut in them could be proven.
    """
    inside: dict[str, list[LayerDraft]] = {}
    for layer in w.layers:
        if branch := w.graph.branch_of(layer.op):
            inside.setdefault(branch, []).append(layer)
    if not inside:
        return Branches((), w.layers, [])
    needs = conditions(w.graph, w.taken.conditions())
    running: list[Branch] = []
    locks: list[LockDraft] = []
    counted: dict[int, LayerDraft] = {}
    for prefix, layers in inside.items():
        title, decided = title_of(w.graph, prefix), needs[prefix]
        if decided is None:
            locks += _locks(w, prefix, f"{title} is never taken")
            continue
        try:
            sizes, again = _run(w.graph, layers, decided, shapes)
        except KernelError:  # the proof runs another copy, and says so where that does not do
            sizes, again = dict(shapes), layers
        except ModelError as error:
            locks += _locks(w, prefix, f"{title} could not be run: {error}")
            continue
        running.append(Branch(prefix, title, decided, sizes))
        counted |= {layer.op.index: layer for layer in again}
    return Branches(tuple(running), [counted.get(x.op.index, x) for x in w.layers], locks)


def _run(
    graph: Graph, layers: list[LayerDraft], decided: Decided, shapes: Shapes
) -> tuple[dict[str, tuple[int, ...]], list[LayerDraft]]:
    """The sizes at which a branch runs, and its layers, counted anew where these are others."""
    proto = folded(graph.proto, decided)
    given = dict(shapes)
    try:
        return given, with_positions(
            layers, run_once(proto, layers, given), images_in(graph, given), anew=False
        )
    except KernelError:
        raise
    except ModelError as error:
        others = fitting_shapes(proto, {}).shapes
        if others == given:
            raise
        try:
            return others, with_positions(
                layers, run_once(proto, layers, others), images_in(graph, others), anew=True
            )
        except ModelError:
            raise error from None


def _locks(w: Walk, prefix: str, why: str) -> list[LockDraft]:
    inside = [draft for draft in w.sites if w.graph.branch_of(draft.op) == prefix]
    return [LockDraft(draft.op.name, draft.labels.ravel(), why) for draft in inside]
