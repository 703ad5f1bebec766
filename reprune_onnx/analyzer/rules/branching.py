"""If, whose branches stand beside it: what both give for one output has the same channels."""

from __future__ import annotations

from reprune_onnx.analyzer.graph import Op
from reprune_onnx.analyzer.hoist import joined
from reprune_onnx.analyzer.labels import varying
from reprune_onnx.analyzer.walk import Walk
from reprune_onnx.types import Labels, Shape


def if_(op: Op, w: Walk) -> list[Labels | None] | None:
    """Each output is tied, place by place, to what either branch makes of it.

    Where one gives other shapes than the other, or a constant, channels stay.
    """
    made = joined(op.proto)
    if w.is_activation(op, 0):
        w.lock(op, w.labels(op).ids, f"{op.title} chooses its branch by these channels")
    return [_either(op, w, name, both) for name, both in zip(op.outputs, made, strict=True)]


def _either(op: Op, w: Walk, name: str, both: tuple[str, str]) -> Labels | None:
    w.set_element_type(name, w.element_type(both[0]))
    known = [w.tensors[made] for made in both if made in w.tensors]
    if len(known) < len(both):
        for x in known:
            w.lock(op, x.ids, f"the other branch of {op.title} gives what no layer makes")
        return None
    if not w.unknown.isdisjoint(both):
        for x in known:
            w.lock(op, x.ids, f"a branch of {op.title} gives a tensor of unknown rank")
        return None
    a, b = known
    shape = _common(a, b)
    if shape is None:
        shapes = " and ".join("×".join(str(n or "?") for n in x.shape) or "a number" for x in known)
        for x in known:
            w.lock(op, x.ids, f"the branches of {op.title} give other shapes ({shapes})")
        return None
    w.space.tie(a.ids, b.ids)
    return Labels(shape, max(a.ids, b.ids, key=lambda ids: ids.size))


def _common(a: Labels, b: Labels) -> Shape | None:
    """The shape of both, its extents None where they differ; None where channels differ."""
    if len(a.shape) != len(b.shape):
        return None
    differ = [x != y for x, y in zip(a.shape, b.shape, strict=True)]
    if any(differ[axis] for x in (a, b) for axis in varying(x.ids)):
        return None
    return tuple(None if other else n for n, other in zip(a.shape, differ, strict=True))
