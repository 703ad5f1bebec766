"""The judge of every campaign: the file as it was written beside the masked original."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import TypeVar

import onnx
from masked_oracle import (
    Array,
    Feeds,
    behind_cuts,
    difference,
    masked,
    nodes_within,
    own_rounding,
    run,
    with_outputs,
)

import reprune_onnx as rp
from reprune_onnx.bodies import bodies

T = TypeVar("T")

ALLOWED = 1e-4
"""Of the largest magnitude; rounding makes some 1e-6."""
AMPLIFIED = 10
"""A difference of so many times what the original makes of its inputs' last digit is rounding."""


@dataclass(frozen=True)
class Judgement:
    """The difference from the right masked original, and from a wrong one where there was one.

    ``rounding`` is what is allowed where that is more than `ALLOWED`.
    """

    apart: float
    rounding: float = 0.0
    control: float | None = None

    @property
    def wrong(self) -> str:
        """The error of the pruned file, in words; nothing where the file is exact."""
        exact = self.apart <= max(ALLOWED, self.rounding) < inf  # not where it is NaN
        return "" if exact else f"{self.apart:.3g} from the masked original"


def judged(
    original: onnx.ModelProto,
    result: rp.Pruned,
    inputs: Sequence[Feeds],
    wrong: rp.Pruned | None = None,
) -> Judgement:
    """Compare a pruned file with the original that its report masks, and that of a ``wrong`` one.

    Outputs are compared, and what stands right behind the cuts; where there are branches, also with
    the others taken, if these run. A wrong report whose parts do not fit has no bound.
    """
    right = masked(original, result, inputs[0])
    names = behind_cuts(right, result, inputs[0])
    protos = [right, result.model.proto]
    other = None if wrong is None else _tried(lambda: masked(original, wrong, inputs[0]))
    if other is not None:
        protos.append(other)
    compared = [_compared([with_outputs(proto, names) for proto in protos], inputs)]
    if any(node.op_type == "If" for node in nodes_within(right.graph)):
        others = [_other_branches(proto) for proto in protos]
        if _runs(others[0], inputs):
            compared.append(_compared(others, inputs))
    control = None if wrong is None else inf
    if other is not None:
        control = max(one.control or 0.0 for one in compared)
    apart = max(one.apart for one in compared)
    return Judgement(apart, max(one.rounding for one in compared), control)


def _compared(protos: Sequence[onnx.ModelProto], inputs: Sequence[Feeds]) -> Judgement:
    """The pruned file, the second, beside the right masked original and, last, a wrong one."""
    right, pruned, *wrong = protos
    made = run(pruned, inputs)
    apart = difference(run(right, inputs), made)
    rounding = AMPLIFIED * own_rounding(right, inputs) if apart > ALLOWED else 0.0
    control = _control(wrong[0], inputs, made) if wrong else None
    return Judgement(apart, rounding, control)


def _control(wrong: onnx.ModelProto, inputs: Sequence[Feeds], made: list[list[Array]]) -> float:
    """The difference from a wrong masked original; no bound where its parts do not even fit."""
    other = _made(wrong, inputs)
    return inf if other is None else difference(other, made)


def _other_branches(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which every If takes the other branch."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    graphs = [copy.graph, *(body for node in nodes_within(copy.graph) for body in bodies(node))]
    for graph in graphs:
        nodes = []
        for node in graph.node:
            if node.op_type == "If":
                turned = f"{node.output[0]}_turned"
                nodes.append(onnx.helper.make_node("Not", [node.input[0]], [turned]))
                node.input[0] = turned
            nodes.append(node)
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del graph.node[:]
        graph.node.extend(copies)
    return copy


def _runs(proto: onnx.ModelProto, inputs: Sequence[Feeds]) -> bool:
    """Whether the other branches run on these inputs, which need not suit them."""
    return _made(proto, inputs) is not None


def _made(proto: onnx.ModelProto, inputs: Sequence[Feeds]) -> list[list[Array]] | None:
    """The outputs of a model; None where it does not run on these inputs."""
    return _tried(lambda: run(proto, inputs))


def _tried(make: Callable[[], T]) -> T | None:
    """The result of a run; None where ONNX Runtime refuses. Any other error is the judge's own."""
    try:
        return make()
    except Exception as error:  # ONNX Runtime's errors have no class in common
        if type(error).__module__.startswith("onnxruntime"):
            return None
        raise
