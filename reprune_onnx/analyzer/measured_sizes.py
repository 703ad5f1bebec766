"""The positions of layers, seen in a run where no rule could tell: behind If, Loop, other ops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod

import onnx

from reprune_onnx.analyzer.drafts import LayerDraft, PassingDraft
from reprune_onnx.analyzer.fold import folded
from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.analyzer.op_kinds import GATES
from reprune_onnx.errors import ModelError
from reprune_onnx.runtime.extents import extents_in_a_run

_OUTPUT = ("Conv", "FusedConv")  # their positions are those of what they make, others' of an input


Drafts = tuple[list[LayerDraft], list[PassingDraft]]
"""The layers, and the products that channels pass."""


def measured(graph: Graph, drafts: Drafts, shapes: Mapping[str, tuple[int, ...]]) -> Drafts:
    """The drafts, with the sizes of one run on random inputs of ``shapes`` where unknown.

    Sizes stay unknown where ONNX Runtime cannot run the model, and in the branches of an If.
    """
    layers, passing = drafts
    names = {_tensor(x.op) for x in layers if _is_blind(x) and not graph.branch_of(x.op)}
    names |= {_operand(p) for p in passing if p.macs is None and not graph.branch_of(p.op)}
    if not names:
        return drafts
    try:
        extents = extents_in_a_run(folded(graph.proto), names, shapes, all_nodes=True)
    except (ModelError, MemoryError):
        return drafts
    return (
        with_positions(layers, extents, images_in(graph, shapes), anew=False),
        [
            replace(p, shape=extents.get(_operand(p), p.shape)) if p.macs is None else p
            for p in passing
        ],
    )


def with_positions(
    layers: Sequence[LayerDraft],
    extents: Mapping[str, tuple[int, ...]],
    batch: int,
    *,
    anew: bool,
) -> list[LayerDraft]:
    """The layers, with positions by the ``extents`` of tensors: of those unknown, or of all.

    They are those of one image of the ``batch`` that was run.
    """
    return [
        replace(layer, positions=_positions(layer, extents[_tensor(layer.op)], batch))
        if (anew or _is_blind(layer)) and _tensor(layer.op) in extents
        else layer
        for layer in layers
    ]


def _is_blind(layer: LayerDraft) -> bool:
    return not layer.positions and layer.op.type != "Einsum"


def _operand(product: PassingDraft) -> str:
    return product.op.inputs[product.input]


def _tensor(op: Op) -> str:
    return op.outputs[0] if op.type in _OUTPUT else op.inputs[0]


def _positions(layer: LayerDraft, shape: tuple[int, ...], batch: int) -> int:
    """The number of times that an image uses each weight; all regions that a head reads count."""
    if layer.op.type in GATES:
        return shape[1 if layer.op.attrs.get("layout", 0) else 0]
    if layer.op.type == "Gemm":
        return _share(shape[1 if layer.op.attrs.get("transA", 0) else 0], batch)
    matrix = layer.op.type not in (*_OUTPUT, "ConvTranspose")
    return _share(shape[0], batch) * prod(shape[1:-1] if matrix else shape[2:])


def images_in(graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """The images in the first input; one where it has no axis for them, but rows and columns."""
    first = shapes.get(graph.inputs[0].name, ()) if graph.inputs else ()
    return first[0] if first and len(first) != 3 else 1


def _share(rows: int, batch: int) -> int:
    return rows // batch if batch > 0 and rows % batch == 0 else rows


def run_once(
    source: onnx.ModelProto, layers: Sequence[LayerDraft], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    """The shape of the tensor that tells each layer's positions, in one run on random inputs.

    Raises ModelError where ONNX Runtime does not run the model.
    """
    return extents_in_a_run(source, {_tensor(layer.op) for layer in layers}, shapes, all_nodes=True)
