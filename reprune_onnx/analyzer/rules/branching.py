"""If, whose branches stand beside it: what both give for one output has the same channels."""

from __future__ import annotations

import numpy as np

from reprune_onnx.analyzer.graph import Op
from reprune_onnx.analyzer.hoist import joined
from reprune_onnx.analyzer.labels import varying
from reprune_onnx.analyzer.walk import Walk
from reprune_onnx.types import Labels, Shape


def if_(op: Op, w: Walk) -> list[Labels | None] | None:
    """Each output is tied, place by place, to what either branch makes of it.

    Where one gives other shapes than the other, or a constant, channels stay. Where it is known
    which branch is taken (`taken.py`), each output is what that one makes.
    """
    made = joined(op.proto)
    if w.is_activation(op, 0):
        w.lock(op, w.labels(op).ids, f"{op.title} chooses its branch by these channels")
    taken = w.taken.passed(op)
    if taken:
        return [_of_one(op, w, *output) for output in zip(op.outputs, made, taken, strict=True)]
    return [_either(op, w, name, both) for name, both in zip(op.outputs, made, strict=True)]


def _of_one(op: Op, w: Walk, name: str, both: tuple[str, str], taken: str) -> Labels | None:
    """The labels that the taken branch gives; channels that only the other branch gives stay."""
    w.set_element_type(name, w.element_type(taken))
    labels = w.tensors.get(taken)
    for other in w.tensors.keys() & ({*both} - {taken}):
        ids = np.unique(w.space.roots(w.tensors[other].ids))
        if labels is not None:
            ids = np.setdiff1d(ids, w.space.roots(labels.ids))
        w.lock(op, ids, f"the branch of {op.title} that is not taken gives these channels")
    if labels is None:
        why = f"the other branch of {op.title} gives what no layer makes"
        return _stays(op, w, [], _shape(w, taken), why)
    if taken in w.unknown:
        return _stays(
            op, w, [labels], None, f"a branch of {op.title} gives a tensor of unknown rank"
        )
    return labels


def _either(op: Op, w: Walk, name: str, both: tuple[str, str]) -> Labels | None:
    w.set_element_type(name, w.element_type(both[0]))
    shapes = [_shape(w, made) for made in both]
    sides = [w.tensors[made] for made in both if made in w.tensors]
    common = _common(*shapes)
    if len(sides) < len(both):
        why = f"the other branch of {op.title} gives what no layer makes"
        return _stays(op, w, sides, common, why)
    if None in shapes:
        return _stays(op, w, sides, None, f"a branch of {op.title} gives a tensor of unknown rank")
    a, b = sides
    differ = common is None or any(
        a.shape[axis] != b.shape[axis] for x in sides for axis in varying(x.ids)
    )
    if differ:
        sizes = " and ".join("×".join(str(n or "?") for n in x.shape) or "a number" for x in sides)
        why = f"the branches of {op.title} give other shapes ({sizes})"
        return _stays(op, w, sides, common, why)
    w.space.tie(a.ids, b.ids)
    return Labels(common or (), max(a.ids, b.ids, key=lambda ids: ids.size))


def _stays(op: Op, w: Walk, given: list[Labels], shape: Shape | None, why: str) -> Labels | None:
    """Lock what branches give, and the output; None where not even its rank is known."""
    for x in given:
        w.lock(op, x.ids, why)
    if shape is None:
        return None
    return w.fixed(op, shape, f"the channels of an output of {op.title} cannot be followed")


def _shape(w: Walk, name: str) -> Shape | None:
    """The shape of what a branch makes; None where its rank is not known."""
    if name in w.tensors:
        return None if name in w.unknown else w.tensors[name].shape
    return w.numbers[name].shape if name in w.numbers else w.graph.shape(name)


def _common(a: Shape | None, b: Shape | None) -> Shape | None:
    """The shape of both, its extents None where they differ; None where ranks differ."""
    if a is None or b is None or len(a) != len(b):
        return None
    return tuple(n if n == m else None for n, m in zip(a, b, strict=True))
