"""LSTM, GRU and RNN: hidden units are channels, of all gates and directions at once."""

from __future__ import annotations

import numpy as np

from reprune_onnx.analyzer.drafts import CountDraft, LayerDraft, SiteDraft
from reprune_onnx.analyzer.graph import Op
from reprune_onnx.analyzer.labels import expand
from reprune_onnx.analyzer.op_kinds import GATES
from reprune_onnx.analyzer.walk import Walk
from reprune_onnx.types import Ints, Labels

_W, _R, _B, _LENGTHS, _P = 1, 2, 3, 4, 7
_STATES = (5, 6)
_PEEPHOLES = 3
_PARTS = ("Cast", "CastLike", "Identity", "Slice")  # of a first state that is one number throughout


def recurrent(op: Op, w: Walk) -> list[Labels | None] | None:
    """``h_t = f(W·x_t + R·h_{t-1} + B)`` of G gates, D directions and H hidden units.

    W ``(D, G·H, n_in)`` reads the input's labels and makes one label for each hidden unit: its row
    in every gate, in both directions, which share one ``hidden_size``. R ``(D, G·H, H)`` makes the
    same labels and reads them, so a hidden unit that goes is read by nothing within the layer
    either. B ``(D, 2·G·H)`` and P ``(D, 3·H)`` have one value of each block per unit.
    """
    x = w.labels(op)
    if len(x.shape) != 3 or not (w.holds_weights(op, _W) and w.holds_weights(op, _R)):
        return None
    directions, rows, n_in = w.constant_shape(op, _W)
    n = rows // GATES[op.type]
    hidden = w.space.fresh(n)
    gates = np.tile(hidden, GATES[op.type])
    inputs = expand(w.flat(op, x.ids, (2,)).reshape(-1), 0, n_in)
    w.site(SiteDraft(op, _W, 2, inputs, 0, "in"))
    w.site(SiteDraft(op, _W, 1, gates, 0, "out"))
    w.site(SiteDraft(op, _R, 2, hidden, 0, "in"))
    w.site(SiteDraft(op, _R, 1, gates, 0, "out"))
    for i, blocks in ((_B, np.tile(gates, 2)), (_P, np.tile(hidden, _PEEPHOLES))):
        if op.has(i):
            w.site(SiteDraft(op, i, 1, blocks, 0, "param"))
    for i in _STATES:
        if op.has(i):
            _first_state(op, w, i, hidden)
    if "hidden_size" in op.attrs:
        w.count(CountDraft(op, "hidden_size", -1, 0, hidden, 0))
    batch_first = bool(op.attrs.get("layout", 0))
    steps, batch = (x.shape[1], x.shape[0]) if batch_first else x.shape[:2]
    w.layers.append(
        LayerDraft(
            op,
            _W,
            w.constant_shape(op, _W),
            1,
            hidden,
            1,
            steps or 0,
            ((_R, w.constant_shape(op, _R)),),
        )
    )
    last = (batch, directions, n) if batch_first else (directions, batch, n)
    every = (batch, steps, directions, n) if batch_first else (steps, directions, batch, n)
    ids = hidden.reshape(1, 1, -1)
    return [Labels(every, ids[None]), Labels(last, ids), Labels(last, ids)]


def _first_state(op: Op, w: Walk, i: int, hidden: Ints) -> None:
    """The first hidden or cell state: one value per unit, constant or computed."""
    filled = _filled(op.inputs[i], w)
    if w.is_constant(op, i):
        w.site(SiteDraft(op, i, 2, hidden, 0, "param"))
    elif filled is not None:
        _follow_extent(filled, w, hidden)
    elif w.is_activation(op, i) and len(w.labels(op, i).shape) == 3:
        w.space.tie(w.flat(op, w.labels(op, i).ids, (2,)).reshape(-1), hidden)
    else:
        reason = f"the first state '{op.inputs[i]}' of {op.title} is computed from sizes"
        w.lock(op, hidden, reason)


def _filled(name: str, w: Walk) -> Op | None:
    """The ConstantOfShape of which a first state is a part, if nothing but first states reads it.

    PyTorch writes one for all layers, of which each takes its own by a Slice.
    """
    maker = w.graph.producer(name)
    while maker is not None and maker.type in _PARTS and maker.domain == "":
        maker = w.graph.producer(maker.inputs[0])
    if maker is None or maker.type != "ConstantOfShape" or maker.domain:
        return None
    stack = [maker.outputs[0]]
    while stack:
        made = stack.pop()
        for reader in w.graph.readers(made):
            if reader.type in _PARTS and reader.domain == "" and reader.inputs[0] == made:
                stack.append(reader.outputs[0])
            elif reader.type not in GATES or made not in [
                reader.inputs[i] for i in _states(reader)
            ]:
                return None
        if made in w.graph.outputs:
            return None
    return maker


def _states(op: Op) -> list[int]:
    return [i for i in _STATES if op.has(i)]


def _follow_extent(filled: Op, w: Walk, hidden: Ints) -> None:
    """The last number of the shape counts hidden units, of all layers that take a part alike."""
    sizes = w.integers(filled, 0)
    if sizes is None or len(sizes) != 3 or sizes[2] != len(hidden):
        reason = f"{filled.title} makes a first state that is not known to end in {len(hidden)}"
        w.lock(filled, hidden, reason)
        return
    place = (filled.index, 0, 2)
    w.counts = [
        c for c in w.counts if (c.op.index, c.input, c.index) != place or c.labels is not None
    ]
    for count in w.counts:
        if (count.op.index, count.input, count.index) == place and count.labels is not None:
            w.space.tie(count.labels, hidden)
    w.count(CountDraft(filled, "", 0, 2, hidden, 0))
