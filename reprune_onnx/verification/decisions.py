"""Decisions that a graph makes by its numbers, and the comparison of two models behind them.

The order of two scores that are nearly equal, or on which side of a threshold one lies, may turn on
rounding, and everything behind it then differs for no fault of the cut: which boxes a detector
keeps, and which parts of the features its heads see. So the pruned model is given the decisions of
the masked original, and what decides (scores, boxes, coordinates before they are rounded) is
compared itself. What is equal before every decision and, with the same decisions, behind it, is
proven equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
from numpy.typing import NDArray

from reprune_onnx.analyzer.graph import FLOATS, Graph, Op, captured
from reprune_onnx.analyzer.op_kinds import COMPARISONS
from reprune_onnx.bodies import bodies
from reprune_onnx.types import Bools, ChannelMap
from reprune_onnx.verification.compare import Arrays
from reprune_onnx.verification.fed_model import FedModel

_ROUNDING = {"Cast", "Ceil", "Floor", "Round"}
_DECIDING = COMPARISONS | _ROUNDING | {
    "ArgMax", "ArgMin", "Hardmax", "NonMaxSuppression", "NonZero", "Sign", "TopK", "Unique",
}  # fmt: skip


@dataclass(frozen=True)
class Decisions:
    """Names of tensors: those that hold decisions, and what is compared in their place.

    What is only ``rounded`` counts in whole numbers, the rest of what is ``read`` by its own scale.
    In place of a sum or difference its terms are read: that of two large numbers is small, and off
    by their rounding.
    """

    made: list[str]
    read: list[str]
    rounded: list[str]


def decisions(graph: Graph, channels: ChannelMap, keep: Bools) -> Decisions:
    """Find what a graph decides by its numbers.

    Of an If, Loop or Scan that decides within its body, all outputs are decisions. A decision about
    channels that are dropped is left out: it cannot be given to a model that lacks them.
    """
    made: list[str] = []
    read: set[str] = set()
    rounded: set[str] = set()
    for op in graph.ops:
        if op.domain or not _decides(op):
            continue
        inputs = [n for n in (*op.inputs, *captured(op)) if n in channels.tensors]
        outputs = [o for o in (op.outputs[1:] if op.type == "TopK" else op.outputs) if o]
        labelled = [n for n in (*inputs, *outputs) if n in channels.tensors]
        if inputs and all(keep[channels.tensors[n].ids].all() for n in labelled):
            made += outputs
            if op.type in _ROUNDING:
                rounded.update(inputs)
            else:
                read.update(inputs)
    given = {i.name for i in graph.inputs}
    read = _terms(graph, channels, keep, read)
    return Decisions(made, sorted(read - {*made} - given), sorted(rounded - {*made} - given - read))


def _terms(graph: Graph, channels: ChannelMap, keep: Bools, names: Iterable[str]) -> set[str]:
    """``names``, and for a sum or difference its terms, of which both models make the same."""
    ends, seen, stack = set[str](), set[str](), list(names)
    while stack:
        name = stack.pop()
        if name in seen:
            continue
        seen.add(name)
        op = graph.producer(name)
        terms = [] if op is None else [i for i in op.inputs if i in channels.tensors]
        all_stay = terms and all(keep[channels.tensors[i].ids].all() for i in terms)
        if op is not None and not op.domain and op.type in {"Add", "Sub"} and all_stay:
            stack += terms
        else:
            ends.add(name)
    return ends


def feed_decisions(pruned: FedModel, expected: Sequence[Arrays], names: Sequence[str]) -> None:
    """Let ``pruned`` read the decisions ``names`` from what it is fed."""
    pruned.redirect({name: fed_name(name) for name in names}, expected[0])


def with_decisions(
    feeds: Arrays, outputs: Mapping[str, NDArray[Any]], names: Sequence[str]
) -> Arrays:
    """The inputs, and the decisions ``names`` that stand among ``outputs``."""
    return {**feeds, **{fed_name(name): outputs[name] for name in names}}


def fed_name(name: str) -> str:
    """The name of the input that a decision is fed to."""
    return f"{name}__decided"


def _decides(op: Op) -> bool:
    return _kind_decides(op.proto) or any(map(_body_decides, bodies(op.proto)))


def _body_decides(graph: onnx.GraphProto) -> bool:
    return any(_kind_decides(node) or any(map(_body_decides, bodies(node))) for node in graph.node)


def _kind_decides(node: onnx.NodeProto) -> bool:
    if node.op_type == "Cast":
        return not any(a.name == "to" and a.i in FLOATS for a in node.attribute)
    return node.op_type in _DECIDING
