"""LSTM, GRU and RNN: PyTorch's own kernels where they compute the same, else step by step.

PyTorch's kernels know the default activations, linear_before_reset=1 and sequences of one length;
what goes beyond is written out as ONNX's equations have it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from reprune_onnx.analyzer.op_kinds import GATES
from reprune_onnx.training.bridge.node import Function, Node

Activation = Callable[[Tensor], Tensor]
State = tuple[Tensor, ...]

_DEFAULTS = {
    "LSTM": ("sigmoid", "tanh", "tanh"),
    "GRU": ("sigmoid", "tanh"),
    "RNN": ("tanh",),
}
_ORDER = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
"""Where PyTorch's gates stand in ONNX's order: i f g o of i o f c; r z n of z r h."""

_Made = Callable[[float, float], Activation]
_ACTIVATIONS: dict[str, tuple[_Made, float | None, float | None]] = {
    "affine": (lambda a, b: lambda x: a * x + b, 1.0, 0.0),
    "elu": (lambda a, b: lambda x: F.elu(x, a), 1.0, None),
    "hardsigmoid": (lambda a, b: lambda x: (a * x + b).clamp(0, 1), 0.2, 0.5),
    "leakyrelu": (lambda a, b: lambda x: F.leaky_relu(x, a), 0.01, None),
    "relu": (lambda a, b: torch.relu, None, None),
    "scaledtanh": (lambda a, b: lambda x: a * torch.tanh(b * x), 1.0, 1.0),
    "sigmoid": (lambda a, b: torch.sigmoid, None, None),
    "softplus": (lambda a, b: F.softplus, None, None),
    "softsign": (lambda a, b: F.softsign, None, None),
    "tanh": (lambda a, b: torch.tanh, None, None),
    "thresholdedrelu": (lambda a, b: lambda x: torch.where(x > a, x, 0.0), 1.0, None),
}
"""Name -> (how it is made from alpha and beta, their defaults; None: it takes none)."""


@dataclass(frozen=True)
class _Weights:
    """Of one direction: w (g h, in), r (g h, h), bw and br (g h), peepholes (3 h) or None."""

    w: Tensor
    r: Tensor
    bw: Tensor
    br: Tensor
    p: Tensor | None


def recurrent(node: Node) -> Function:
    """LSTM, GRU and RNN, of all directions, layouts and lengths."""
    kind = node.op.type
    direction = node.attr("direction", "forward")
    directions = 2 if direction == "bidirectional" else 1
    names = [_text(a).lower() for a in node.attr("activations") or ()]
    usual = tuple(names) in ((), _DEFAULTS[kind] * directions)
    activations = _activations(node, names or list(_DEFAULTS[kind] * directions))
    clip = node.attr("clip", 0.0)
    batch_first = bool(node.attr("layout", 0))
    coupled = bool(node.attr("input_forget", 0))
    after = bool(node.attr("linear_before_reset", 0))
    own_kernel = usual and not clip and not coupled and (kind != "GRU" or after)
    cells = {"LSTM": _lstm(coupled), "GRU": _gru(after), "RNN": _rnn}

    def run(x: Tensor, w: Tensor, r: Tensor, *rest: Tensor | None) -> tuple[Tensor, ...]:
        given: list[Tensor | None] = [*rest, *[None] * (5 - len(rest))]
        b, lengths, h, c, p = given
        if batch_first:
            x = x.transpose(0, 1)
            h, c = (None if s is None else s.transpose(0, 1) for s in (h, c))
        n, batch, hidden = len(w), x.shape[1], r.shape[2]
        zeros = x.new_zeros(n, batch, hidden)
        start = (zeros if h is None else h, zeros if c is None else c)[: 2 if kind == "LSTM" else 1]
        b = x.new_zeros(n, 2 * w.shape[1]) if b is None else b
        parts = []
        for d in range(n):
            bw, br = b[d].chunk(2)
            parts.append(_Weights(w[d], r[d], bw, br, None if p is None else p[d]))
        even = lengths is None or bool((lengths == len(x)).all())
        if own_kernel and p is None and even:
            y, state = _kernel(kind, x, start, parts, direction == "reverse")
        else:
            steps = None if even or lengths is None else lengths.long().to(x.device)
            made = []
            for d, part in enumerate(parts):
                acts = activations[d * len(_DEFAULTS[kind]) :][: len(_DEFAULTS[kind])]
                cell = _Cell(cells[kind], part, [_clipped(a, clip, k) for k, a in enumerate(acts)])
                back = d == 1 or direction == "reverse"
                made.append(_unroll(cell, x, tuple(s[d] for s in start), steps, back))
            y = torch.stack([m[0] for m in made], dim=1)
            state = tuple(torch.stack([m[1][k] for m in made]) for k in range(len(start)))
        if batch_first:
            y = y.permute(2, 0, 1, 3)
            state = tuple(s.transpose(0, 1) for s in state)
        return y, *state

    return run


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _activations(node: Node, names: list[str]) -> list[Activation]:
    """The activations in the file's order; alphas and betas go to those that take one."""
    wanted = len(_DEFAULTS[node.op.type])
    directions = 2 if node.attr("direction", "forward") == "bidirectional" else 1
    if len(names) != wanted * directions or any(name not in _ACTIVATIONS for name in names):
        raise node.refuse(f"activations {', '.join(names)}")
    alphas, betas = (iter(node.attr(f"activation_{k}") or ()) for k in ("alpha", "beta"))
    return [
        make(_next(alphas, alpha), _next(betas, beta))
        for make, alpha, beta in (_ACTIVATIONS[name] for name in names)
    ]


def _next(values: Iterator[float], default: float | None) -> float:
    return 0.0 if default is None else float(next(values, default))


def _clipped(activation: Activation, clip: float, place: int) -> Activation:
    """With ``clip``, the activation of a clipped sum; that of LSTM's cell (place 2) has no clip."""
    if not clip or place == 2:
        return activation
    return lambda x: activation(x.clamp(-clip, clip))


# ── PyTorch's kernels ───────────────────────────────────────────────────────────────────────


def _kernel(
    kind: str, x: Tensor, start: State, parts: list[_Weights], back: bool
) -> tuple[Tensor, State]:
    """y (t, directions, b, h) and the last states (directions, b, h)."""
    flat = [
        torch.cat([tensor.chunk(GATES[kind])[k] for k in _ORDER[kind]])
        for part in parts
        for tensor in (part.w, part.r, part.bw, part.br)
    ]
    more = (flat, True, 1, 0.0, False, len(parts) == 2, False)
    x = x.flip(0) if back else x
    state: State
    if kind == "LSTM":
        y, *last = torch.lstm(x, [s.contiguous() for s in start], *more)
        state = tuple(last)
    else:
        kernel = torch.gru if kind == "GRU" else torch.rnn_tanh
        y, final = kernel(x, start[0].contiguous(), *more)
        state = (final,)
    y = y.flip(0) if back else y
    return y.unflatten(2, (len(parts), -1)).transpose(1, 2), state


# ── step by step ────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Cell:
    """``step(x W + bw, state, weights, activations) -> state``; the state's first is the output."""

    step: Callable[[Tensor, State, _Weights, list[Activation]], State]
    weights: _Weights
    activations: list[Activation]


def _unroll(
    cell: _Cell, x: Tensor, state: State, lengths: Tensor | None, back: bool
) -> tuple[Tensor, State]:
    """y (t, b, h), zero behind the end of a sequence, and the states at its end."""
    order = _order(x, lengths, back)
    inputs = x if order is None else x.gather(0, order[..., None].expand_as(x))
    inputs = F.linear(inputs, cell.weights.w, cell.weights.bw)
    outputs = []
    for t in range(len(x)):
        new = cell.step(inputs[t], state, cell.weights, cell.activations)
        if lengths is None:
            state = new
            outputs.append(new[0])
            continue
        going = (t < lengths)[:, None]
        state = tuple(torch.where(going, a, b) for a, b in zip(new, state, strict=True))
        outputs.append(torch.where(going, new[0], 0.0))
    y = torch.stack(outputs)
    return (y if order is None else y.gather(0, order[..., None].expand_as(y))), state


def _order(x: Tensor, lengths: Tensor | None, back: bool) -> Tensor | None:
    """Which step (t, b) is read when: the sequence backwards, what is behind its end in place."""
    if not back:
        return None
    t = torch.arange(len(x), device=x.device)[:, None].expand(-1, x.shape[1])
    if lengths is None:
        return t.flip(0)
    return torch.where(t < lengths, lengths - 1 - t, t)


def _lstm(coupled: bool) -> Callable[[Tensor, State, _Weights, list[Activation]], State]:
    def step(x: Tensor, state: State, v: _Weights, acts: list[Activation]) -> State:
        h, c = state
        f, g, last = acts
        i, o, forget, new = (x + F.linear(h, v.r, v.br)).chunk(4, dim=1)
        pi, po, pf = (None, None, None) if v.p is None else v.p.chunk(3)
        i = f(i if pi is None else i + pi * c)
        forget = 1 - i if coupled else f(forget if pf is None else forget + pf * c)
        c = forget * c + i * g(new)
        return f(o if po is None else o + po * c) * last(c), c

    return step


def _gru(after: bool) -> Callable[[Tensor, State, _Weights, list[Activation]], State]:
    def step(x: Tensor, state: State, v: _Weights, acts: list[Activation]) -> State:
        (h,) = state
        f, g = acts
        size = h.shape[1]
        r_zr, r_h, b_zr, b_h = v.r[: 2 * size], v.r[2 * size :], v.br[: 2 * size], v.br[2 * size :]
        z, r = f(x[:, : 2 * size] + F.linear(h, r_zr, b_zr)).chunk(2, dim=1)
        inner = r * F.linear(h, r_h, b_h) if after else F.linear(r * h, r_h, b_h)
        return ((1 - z) * g(x[:, 2 * size :] + inner) + z * h,)

    return step


def _rnn(x: Tensor, state: State, v: _Weights, acts: list[Activation]) -> State:
    return (acts[0](x + F.linear(state[0], v.r, v.br)),)
