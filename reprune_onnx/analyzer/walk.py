"""One pass over the nodes: every rule is asked what its node does to the channels.

The walk owns what rules may say: fresh labels, ties, sites, counts, locks. It never decides what is
pruned and never changes a tensor. `resolve` turns its drafts into facts once all ties are known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from reprune_onnx.analyzer import numbers as num
from reprune_onnx.analyzer.drafts import (
    CountDraft,
    GroupedConv,
    LayerDraft,
    LockDraft,
    PassingDraft,
    ResidualAdd,
    SiteDraft,
    StatisticDraft,
    SummedDraft,
)
from reprune_onnx.analyzer.graph import FLOATS, Graph, Op, captured
from reprune_onnx.analyzer.hoist import joined
from reprune_onnx.analyzer.inference import Inference, few
from reprune_onnx.analyzer.labels import LabelSpace, TooManyLabelsError, compress, varying
from reprune_onnx.analyzer.made_of_none import has_channels
from reprune_onnx.analyzer.not_followed import not_followed
from reprune_onnx.analyzer.op_kinds import MEASURING
from reprune_onnx.analyzer.rejected import described, rejected
from reprune_onnx.analyzer.taken import Taken
from reprune_onnx.choices import StatisticsKept
from reprune_onnx.errors import ModelError
from reprune_onnx.types import Ints, Labels, LockKind, Shape

Rule = Callable[[Op, "Walk"], "Labels | list[Labels | None] | None"]
_WHOLE = FLOATS | {
    getattr(onnx.TensorProto, name)
    for name in ("BOOL", *(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)))
}  # types whose values are whole bytes that numpy knows
RANK_FREE: dict[str, tuple[int, ...]] = {
    "Conv": (),  # the weight tells the rank where the input does not
    "ConvTranspose": (),
    "GridSample": (0,),
    "If": (),  # its rule looks at what either branch makes
    "RoiAlign": (0,),
}
"""The inputs whose rank the rule has to know; of ops that are not listed, all."""


class Walk:
    """The known facts after the nodes so far. Rules read and state them through its methods."""

    def __init__(
        self,
        graph: Graph,
        input_shapes: dict[str, tuple[int, ...]],
        given: Mapping[str, tuple[int, ...]] | None = None,
        statistics_kept: StatisticsKept = "none",
    ) -> None:
        self.graph = graph
        self.statistics_kept = statistics_kept
        self.space = LabelSpace()
        self.tensors: dict[str, Labels] = {}
        self.numbers: dict[str, num.Numbers] = {}
        self.sites: list[SiteDraft] = []
        self.counts: list[CountDraft] = []
        self.locks: list[LockDraft] = []
        self.layers: list[LayerDraft] = []
        self.passing: list[PassingDraft] = []
        self.summed: list[SummedDraft] = []
        self.statistics: list[StatisticDraft] = []
        self.grouped: list[GroupedConv] = []
        self.adds: list[ResidualAdd] = []
        self.unknown: set[str] = set()  # activations of which not even the rank is known
        self.taken = Taken(graph, self.numbers, given or {})
        self._inference = Inference(graph)
        for name, dims in graph.sparse.items():
            why = f"sparse tensor '{name}' stays as it is"
            self.tensors[name] = self._one_locked_label(dims, name, why)
        for value in graph.inputs:
            shape = input_shapes.get(value.name, ())
            if value.name not in input_shapes:
                self.unknown.add(value.name)
            self.tensors[value.name] = self._one_locked_label(
                shape, f"input '{value.name}'", f"the channels of graph input '{value.name}' stay"
            )

    def run(self, rules: dict[tuple[str, str], Rule]) -> None:
        """Apply the rule of every node, in the file's order."""
        for op in self.graph.ops:
            if op.outputs and op.outputs[0] in self.graph.derived:
                continue
            if self._compute_numbers(op):
                continue
            self._apply(op, rules.get((op.domain, op.type)))
            body = captured(op)
            if joined(op.proto):
                body -= self.tensors.keys()  # these the rule has followed
            self._lock_names(op, body, f"{op.title} reads these channels inside its body")
        for name in self.graph.outputs:
            self._lock_names(None, {name}, f"the channels of graph output '{name}' stay")

    # ── what rules ask ──────────────────────────────────────────────────────────────────────

    def labels(self, op: Op, i: int = 0) -> Labels:
        """The labels of input ``i``; a constant among activations has one locked label."""
        name = op.inputs[i]
        if name in self.tensors:
            return self.tensors[name]
        shape: Shape = self.graph.shape(name) if self.is_constant(op, i) else ()
        if name in self.numbers:
            shape = self.numbers[name].shape
        return self._one_locked_label(shape, op.name, f"constant '{name}' stays as it is")

    def is_constant(self, op: Op, i: int) -> bool:
        """Whether input ``i`` is given and constant."""
        return op.has(i) and self.graph.is_constant(op.inputs[i])

    def holds_weights(self, op: Op, i: int) -> bool:
        """Whether input ``i`` is constant; where it is not, the activations stay, and why."""
        if self.is_constant(op, i):
            return True
        for k in range(len(op.inputs)):
            if op.has(i) and self.is_activation(op, k):
                reason = f"'{op.inputs[i]}' of {op.title} is not a constant"
                self.lock(op, self.labels(op, k).ids, reason)
        return False

    def is_activation(self, op: Op, i: int) -> bool:
        """Whether input ``i`` carries labels: given, not constant, not a computed number."""
        return op.has(i) and op.inputs[i] in self.tensors

    def constant(self, op: Op, i: int) -> NDArray[Any] | None:
        """The value of constant input ``i``; None where it is missing or not constant."""
        return self.graph.array(op.inputs[i]) if self.is_constant(op, i) else None

    def constant_shape(self, op: Op, i: int) -> tuple[int, ...]:
        """The shape of constant input ``i``."""
        return self.graph.shape(op.inputs[i])

    def integers(self, op: Op, i: int) -> list[int | None] | None:
        """Input ``i`` as a list of integers, each None if unknown; None if it is something else."""
        if not op.has(i):
            return None
        if self.is_constant(op, i):
            array = self.graph.array(op.inputs[i])
            return [int(v) for v in array.ravel()] if array.dtype.kind in "iu" else None
        numbers = self.numbers.get(op.inputs[i])
        if numbers is None:
            return None
        return [None if n.value is None else int(n.value) for n in numbers.ravel()]

    def counted(self, op: Op, i: int, k: int) -> Ints | None:
        """The labels ``(n,)`` that element ``k`` of input ``i`` is the number of; None if of none.

        It is the extent of an activation whose channels lie along that axis, and nothing else.
        """
        numbers = self.numbers.get(op.inputs[i])
        at = None if numbers is None else num.extent_of(numbers.ravel()[k])
        if at is None or at[0] not in self.tensors:
            return None
        ids = self.tensors[at[0]].ids
        return ids.ravel() if varying(ids) == [at[1]] else None

    def shape(self, op: Op, k: int = 0) -> Shape | None:
        """The shape of output ``k`` by onnx's own shape inference; None where it cannot tell."""
        shapes: dict[str, Shape | None] = {}
        values: dict[str, NDArray[Any] | None] = {}
        for name in filter(None, op.inputs):
            if name in self.tensors:
                shapes[name] = None if name in self.unknown else self.tensors[name].shape
            elif name in self.numbers:
                shapes[name] = self.numbers[name].shape
                values[name] = num.values(self.numbers[name])
            else:
                shapes[name] = self.graph.shape(name)
                if few(self.graph.shape(name)):
                    values[name] = self.graph.array(name)
        return self._inference.shape(op, k, shapes, values)

    def element_type(self, name: str) -> int:
        """The TensorProto type of a tensor, every floating-point type as float."""
        return self._inference.element_type(name)

    def set_element_type(self, name: str, element_type: int) -> None:
        """Note the type of a tensor of which shape inference is not asked."""
        self._inference.set_element_type(name, element_type)

    # ── what rules state ────────────────────────────────────────────────────────────────────

    def site(self, draft: SiteDraft) -> None:
        """An axis of a constant input carries labels; what is not constant locks them."""
        if not 0 <= draft.along < draft.labels.ndim:
            raise ValueError(f"input {draft.input} has no axis for the channels")
        name = draft.op.inputs[draft.input]
        if not self.is_constant(draft.op, draft.input):
            reason = f"'{name}' of {draft.op.title} is not a constant"
            self.lock(draft.op, draft.labels, reason)
            self.lock(draft.op, self.labels(draft.op, draft.input).ids, reason)
        elif self.graph.element_type(name) not in _WHOLE:
            kind = onnx.TensorProto.DataType.Name(self.graph.element_type(name))
            reason = f"'{name}' of {draft.op.title} is of type {kind}, which is not cut"
            self.lock(draft.op, draft.labels, reason)
        else:
            self.sites.append(draft)

    def count(self, draft: CountDraft) -> None:
        """An integer of the file follows a number of channels."""
        self.counts.append(draft)

    def lock(self, op: Op, ids: Ints, reason: str) -> None:
        """The labels must stay, for a reason that names the node."""
        self.locks.append(LockDraft(op.name, ids.ravel(), reason))
        self.space.lock(ids)

    def flat(self, op: Op, ids: Ints, keep: Sequence[int]) -> Ints:
        """Tie what varies along any axis but ``keep``; the labels with extent 1 there.

        Where channels lie along the other axes only, the op works across them, and they stay.
        """
        axes = [a for a in varying(ids) if a not in keep]
        if axes and len(axes) == len(varying(ids)):
            self.lock(op, ids, f"{op.title} works across the channels")
        return compress(self.space.tie_along(ids, axes)) if axes else ids

    def fixed(self, op: Op, shape: Shape, reason: str) -> Labels:
        """One new, locked label for a whole tensor: it stays as it is."""
        return self._one_locked_label(shape, op.name, reason)

    # ── the pass itself ─────────────────────────────────────────────────────────────────────

    def _apply(self, op: Op, rule: Rule | None) -> None:
        counts_before, told = len(self.counts), len(self.locks)
        passed = [name for both in joined(op.proto) for name in both]
        given = [name for name in (*op.inputs, *passed) if name in self.tensors]
        outputs: Labels | list[Labels | None] | None = None
        needed = [i for i in self._needed(op) if op.has(i)]
        blind = self.unknown.intersection(op.inputs[i] for i in needed)
        if (
            rule is not None
            and not blind
            and (given or has_channels(self.graph, op, self.numbers, self.counted))
        ):
            outputs = self._ask(rule, op)
        if outputs is None:
            why = not_followed(self.graph, op, rule is not None, blind)
            locked_here = any(lock.node == op.name for lock in self.locks[told:])
            idle = self.taken.idle(op)
            for ids in [] if idle else [self.tensors[name].ids for name in given]:
                if not (locked_here and self.space.locked(ids).all()):  # the rule says why itself
                    self.lock(op, ids, why)
            outputs = []
        if isinstance(outputs, Labels):
            outputs = [outputs]
        for k, name in enumerate(op.outputs):
            if not name:
                continue
            made = outputs[k] if k < len(outputs) else None
            if made is None:
                shape = self.shape(op, k) or self.graph.declared_shape(name)
                reason = f"the channels of an output of {op.title} cannot be followed"
                made = self.fixed(op, shape or (), reason)
                if shape is None:
                    self.unknown.add(name)
            self.tensors[name] = made
        self._require_unchanged(op, {(c.input, c.index) for c in self.counts[counts_before:]})

    def _needed(self, op: Op) -> Sequence[int]:
        given = range(len(op.inputs))
        return given if op.domain else RANK_FREE.get(op.type, given)

    def _ask(self, rule: Rule, op: Op) -> Labels | list[Labels | None] | None:
        """Apply a rule; what it stumbles over are attributes and inputs that cannot be valid."""
        try:
            return rule(op, self)
        except TooManyLabelsError:
            return None
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            if self.graph.branch_of(op):  # which may not run at these sizes
                return None
            cause = rejected(self.graph, op)
            if cause is not None:
                raise ModelError(
                    f"{cause}: the file is damaged; check it with onnx.checker"
                ) from error
            raise ModelError(
                f"{op.title} cannot be followed, because its inputs and attributes do not fit"
                f" together: {described(self.graph, self.tensors, op)}; check the file with"
                " onnx.checker"
            ) from error

    def _require_unchanged(self, op: Op, counted: set[tuple[int, int]]) -> None:
        for i, name in enumerate(op.inputs):
            if name in self.numbers and name not in self.tensors:
                for k in range(self.numbers[name].size):
                    if (i, k) not in counted:
                        self.counts.append(CountDraft(op, "", i, k, None))

    def _compute_numbers(self, op: Op) -> bool:
        """Whether ``op`` computes small numbers from shapes and constants; then they are kept."""
        passed = self.taken.passed(op)
        if passed and all(name in self.numbers for name in passed):
            self.numbers.update(
                (y, self.numbers[z]) for y, z in zip(op.outputs, passed, strict=True)
            )
            self._require_unchanged(op, set())
            return True
        measures = op.type in MEASURING and op.domain == "" and self.is_activation(op, 0)
        if measures and op.inputs[0] not in self.unknown:
            self._shape_of(op)
            return True
        if any(op.has(i) and op.inputs[i] in self.tensors for i in range(len(op.inputs))):
            return False
        if has_channels(self.graph, op, self.numbers, self.counted):
            return False
        if not any(name in self.numbers for name in op.inputs):
            return False
        inputs: list[num.Numbers | None] = []
        for i, name in enumerate(op.inputs):
            if not name:
                inputs.append(None)
            elif name in self.numbers:
                inputs.append(self.numbers[name])
            elif int(np.prod(self.graph.shape(name), dtype=np.int64)) <= num.LARGEST:
                inputs.append(num.constant(self.graph.array(name), op, i))
            else:
                return False
        self.shape(op)  # learns the element types
        dtypes = [
            onnx.helper.tensor_dtype_to_np_dtype(self.element_type(n)) if n else None
            for n in op.inputs
        ]
        outputs = num.compute(op, inputs, dtypes)
        if outputs is None:
            return False
        for name, value in zip(op.outputs, outputs, strict=False):
            self.numbers[name] = value
        return True

    def _shape_of(self, op: Op) -> None:
        shape = self.tensors[op.inputs[0]].shape
        sizes = num.extents(op.inputs[0], shape)
        if op.type == "Size":
            extents = [n.value for n in sizes]
            size = None if None in extents else float(np.prod([k or 0 for k in extents]))
            product = reduce(lambda a, b: num.multiplied(a, b, None), sizes, num.Number(1))
            sizes = np.array(replace(product, value=size), dtype=object)
        else:
            stop = op.attrs.get("end")
            sizes = sizes[op.attrs.get("start", 0) : stop]
        self.numbers[op.outputs[0]] = sizes
        self.set_element_type(op.outputs[0], onnx.TensorProto.INT64)

    def _lock_names(self, op: Op | None, names: set[str], reason: str) -> None:
        for name in sorted(names):
            node = op.name if op else f"output '{name}'"
            if name in self.tensors:
                ids = self.tensors[name].ids.ravel()
                kind: LockKind = "node" if op else "output"
                self.locks.append(LockDraft(node, ids, reason, kind=kind))
            elif name in self.numbers:
                why = f"graph output '{name}' is computed from the number of these channels"
                if op:
                    why = f"{op.title} reads a number of these channels inside its body"
                for number in self.numbers[name].ravel():
                    for tensor, axis in {extent for term in number.terms for extent in term}:
                        ids = self.tensors[tensor].ids
                        if ids.shape[axis] > 1:
                            self.locks.append(LockDraft(node, ids.ravel(), why))

    def _one_locked_label(self, shape: Shape, node: str, reason: str) -> Labels:
        label = self.space.fresh(1)
        self.locks.append(LockDraft(node, label, reason))
        self.space.lock(label)
        return Labels(shape, label.reshape([1] * len(shape)))
