"""Attention as one node: whole heads stay or go, and the size of a head is what it was.

So the scale that follows from it, 1/√d where no attribute states it, is the file's after the cut.
Every head of keys and values serves as many heads of queries, those next to each other; such a set
is one unit, or, where that leaves more to choose from, the same places of all sets.
"""

from __future__ import annotations

import numpy as np

from reprune_onnx.analyzer.drafts import CountDraft, LayerDraft, SiteDraft
from reprune_onnx.analyzer.graph import Op
from reprune_onnx.analyzer.labels import expand, varying
from reprune_onnx.analyzer.walk import Walk
from reprune_onnx.types import Ints, Labels, Shape

_HEADS = -3  # the axis of heads in masks and biases (batch, heads, queries, keys)
_AXIS = {3: -1, 4: 1}
"""The axis of heads by rank: side by side along the last one, or along one of their own."""
_ONNX_MASK, _ONNX_PAST = 3, (4, 5)  # inputs of ONNX's Attention
_FUSED_PAST, _FUSED_BIAS = 4, 5  # of com.microsoft's Attention
_JOINT_BIAS, _SCORES, _JOINT_PAST = 3, 5, (6, 7)  # of MultiHeadAttention
_GROUPED_PAST, _GROUPED_SCORES, _SINK, _QUANTIZED = (3, 4), 10, 11, (12, 13)


def attention(op: Op, w: Walk) -> list[Labels | None] | None:
    """Whole heads of queries, keys and values stay or go, in sets where several share a key."""
    rank = len(_shape(op, w, 0))
    if rank == 4:
        counts, axis = [_shape(op, w, i)[1] for i in (0, 1)], 1
    else:
        counts, axis = [op.attrs.get(f"{x}_num_heads") for x in ("q", "kv")], -1
    n_q, n_kv = (int(n or 0) for n in counts)
    if not (n_q and n_kv) or any(_shape(op, w, i)[axis] is None for i in (0, 1, 2)):
        return None
    q = _heads(op, w, (0, axis), n_q)
    k, v = (_heads(op, w, (i, axis), n_kv) for i in (1, 2))
    _matched(op, w, q, k, v)
    _beside(op, w, _ONNX_MASK, q)
    for i, ids in zip(_ONNX_PAST, (k, v), strict=True):
        _beside(op, w, i, ids)
    _counted(op, w, {"q_num_heads": q, "kv_num_heads": k})
    batch, length = _shape(op, w, 0)[0], _shape(op, w, 0)[-2 if rank == 4 else 1]
    width = _shape(op, w, 2)[-1]
    if rank == 4:
        made = Labels((batch, n_q, length, width), q.reshape(1, -1, 1, 1))
    else:
        made = _joined(q, (batch, length), int(width or 0) // n_kv)
    return _outputs(op, [made, _apart(k, batch), _apart(v, batch), _apart(q, batch)])


def multi_head_attention(op: Op, w: Walk) -> list[Labels | None] | None:
    """Queries, keys and values, the heads side by side or along an axis: these go whole."""
    n = int(op.attrs["num_heads"])
    shapes = [_shape(op, w, i) for i in (0, 1, 2) if op.has(i)]
    axes = [_AXIS.get(len(shape)) for shape in shapes]
    if len(shapes) < 3 or None in axes or axes[0] == 1 or any(s[-1] is None for s in shapes):
        return None  # packed ones, which ONNX Runtime computes on GPUs alone
    heads, *others = (_heads(op, w, (i, axis or -1), n) for i, axis in enumerate(axes))
    for other in others:
        w.space.tie(heads, other)
    d_q, d_k, d_v = (
        int(s[-1] or 0) // (1 if axis == 1 else n) for s, axis in zip(shapes, axes, strict=True)
    )
    if op.has(_JOINT_BIAS):
        rows = np.concatenate([np.repeat(heads, d) for d in (d_q, d_k, d_v)])
        w.site(SiteDraft(op, _JOINT_BIAS, 0, rows, 0, "param"))
    for i in (_SCORES, *_JOINT_PAST):
        _beside(op, w, i, heads)
    _counted(op, w, {"num_heads": heads})
    batch, length = shapes[0][:2]
    made = _joined(heads, (batch, length), d_v)
    return _outputs(op, [made, *[_apart(heads, batch)] * 3])


def grouped_query_attention(op: Op, w: Walk) -> list[Labels | None] | None:
    """Several heads of queries for each of keys and values; one input may hold all three."""
    if any(op.has(i) for i in _QUANTIZED):
        return None
    n_q, n_kv = int(op.attrs["num_heads"]), int(op.attrs["kv_num_heads"])
    packed = not op.has(1)
    widths = [_shape(op, w, i)[-1] for i in ((0,) if packed else (0, 1, 2))]
    if None in widths:
        return None
    if packed:
        all_heads = _heads(op, w, (0, -1), n_q + 2 * n_kv)
        q, k, v = np.split(all_heads, [n_q, n_q + n_kv])
        d = int(widths[0] or 0) // (n_q + 2 * n_kv)
    else:
        q = _heads(op, w, (0, -1), n_q)
        k, v = (_heads(op, w, (i, -1), n_kv) for i in (1, 2))
        d = int(widths[2] or 0) // n_kv
    _matched(op, w, q, k, v)
    for i, ids in zip(_GROUPED_PAST, (k, v), strict=True):
        _beside(op, w, i, ids)
    _beside(op, w, _GROUPED_SCORES, q)
    if op.has(_SINK):
        w.site(SiteDraft(op, _SINK, 0, q, 0, "param"))
    _counted(op, w, {"num_heads": q, "kv_num_heads": k})
    batch, length = _shape(op, w, 0)[:2]
    made = _joined(q, (batch, length), d)
    return _outputs(op, [made, _apart(k, batch), _apart(v, batch), _apart(q, batch)])


def fused_attention(op: Op, w: Walk) -> list[Labels | None] | None:
    """The layer that makes queries, keys and values, and the attention: whole heads stay or go."""
    x = w.labels(op)
    if len(x.shape) != 3 or not w.holds_weights(op, 1):
        return None
    n = int(op.attrs["num_heads"])
    n_in, n_out = w.constant_shape(op, 1)
    sizes = [int(s) for s in op.attrs.get("qkv_hidden_sizes", [n_out // 3] * 3)]
    heads = w.space.fresh(n)
    rows = np.concatenate([np.repeat(heads, size // n) for size in sizes])
    inputs = expand(w.flat(op, x.ids, (2,)).reshape(-1), 0, n_in)
    w.site(SiteDraft(op, 1, 0, inputs, 0, "in"))
    w.site(SiteDraft(op, 1, 1, rows, 0, "out"))
    if op.has(2):
        w.site(SiteDraft(op, 2, 0, rows, 0, "param"))
    if op.has(_FUSED_PAST):
        w.space.tie(_heads(op, w, (_FUSED_PAST, 2), n), heads)
    _beside(op, w, _FUSED_BIAS, heads)
    _counted(op, w, {"num_heads": heads})
    for k, stop in enumerate(np.cumsum(sizes) if "qkv_hidden_sizes" in op.attrs else []):
        start = int(stop) - sizes[k]
        w.count(CountDraft(op, "qkv_hidden_sizes", -1, k, rows, 0, start, int(stop)))
    shape = w.constant_shape(op, 1)
    w.layers.append(LayerDraft(op, 1, shape, 1, rows, 1, x.shape[1] or 0))
    present = Labels((2, x.shape[0], n, None, sizes[2] // n), heads.reshape(1, 1, -1, 1, 1))
    return _outputs(op, [_joined(heads, x.shape[:2], sizes[2] // n), present])


def rotary_embedding(op: Op, w: Walk) -> Labels | None:
    """Channels of a head are turned in pairs by where they stand: whole heads stay or go."""
    x = w.labels(op)
    if not w.is_activation(op, 0):
        return None
    if len(x.shape) == 4:
        return Labels(x.shape, w.flat(op, x.ids, (1,)))
    tables = (1, 2) if not op.domain else (2, 3)
    half = _shape(op, w, tables[0])[-1]
    n, width = int(op.attrs.get("num_heads", 0)), x.shape[-1]
    if width is None or (half is None and not n):
        return None
    d = width // n if n else 2 * int(half or 0)
    heads = _heads(op, w, (0, -1), width // d)
    if n:
        _counted(op, w, {"num_heads": heads})
    return _joined(heads, x.shape[:2], d)


def _heads(op: Op, w: Walk, at: tuple[int, int], n: int) -> Ints:
    """The labels ``(n,)`` of heads that lie in ``n`` blocks along an axis: (input, axis)."""
    i, axis = at
    shape = _shape(op, w, i)
    extent = shape[axis]
    if not extent or extent % n:
        raise ValueError(f"{extent} channels of input {i} are no {n} heads")
    axis %= len(shape)
    if w.is_constant(op, i):
        made = w.space.fresh(n)
        w.site(SiteDraft(op, i, axis, np.repeat(made, extent // n), 0, "param"))
        return made
    line = expand(w.flat(op, w.labels(op, i).ids, (axis,)).reshape(-1), 0, extent)
    return w.space.tie_along(line.reshape(n, -1), (1,)).reshape(-1)


def _matched(op: Op, w: Walk, q: Ints, k: Ints, v: Ints) -> None:
    """Tie heads of queries ``(n_q,)`` to those of keys and values ``(n_kv,)`` that serve them."""
    w.space.tie(k, v)
    sets = q.reshape(len(k), -1)
    whole = w.space.free_rows([np.concatenate([sets, k[:, None]], axis=1)])
    if sets.shape[1] == 1 or whole >= w.space.free_rows([sets.T]):
        w.space.tie(sets, k[:, None])
        return
    w.space.tie_along(sets, (0,))
    w.lock(op, k, f"{op.title} loses heads of queries alone: each head of its keys serves several")


def _beside(op: Op, w: Walk, i: int, heads: Ints) -> None:
    """A mask, a bias or what is past has a head for each, or one for all."""
    if not (w.is_constant(op, i) or w.is_activation(op, i)):
        return
    shape = _shape(op, w, i)
    axis = len(shape) + _HEADS
    if axis < 0 or shape[axis] == 1:
        if w.is_activation(op, i) and varying(w.labels(op, i).ids):
            w.lock(op, w.labels(op, i).ids, f"{op.title} reads these channels as places")
        return
    if w.is_constant(op, i):
        w.site(SiteDraft(op, i, axis, heads, 0, "param"))
    else:
        w.space.tie(w.flat(op, w.labels(op, i).ids, (axis,)).reshape(-1), heads)


def _counted(op: Op, w: Walk, heads: dict[str, Ints]) -> None:
    for attribute, ids in heads.items():
        if attribute in op.attrs:
            w.count(CountDraft(op, attribute, -1, 0, ids, 0))


def _joined(heads: Ints, lead: Shape, d: int) -> Labels:
    """Heads of ``d`` channels, one behind the other along the last axis."""
    return Labels((*lead, len(heads) * d), np.repeat(heads, d).reshape(1, 1, -1))


def _apart(heads: Ints, batch: int | None) -> Labels:
    return Labels((batch, len(heads), None, None), heads.reshape(1, -1, 1, 1))


def _outputs(op: Op, made: list[Labels]) -> list[Labels | None]:
    return list(made[: len(op.outputs)])


def _shape(op: Op, w: Walk, i: int) -> Shape:
    return w.constant_shape(op, i) if w.is_constant(op, i) else w.labels(op, i).shape
