"""Attention as one node, of ONNX and of com.microsoft, and turns by places."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from reprune_onnx.training.bridge.node import Function, Node

_OWN_MASKS = (3, 4)  # of com.microsoft's Attention: lengths, and what is past
_JOINT_PADDING, _JOINT_PAST = 4, (6, 7, 8, 9)
_PAST = (4, 5, 6)  # of ONNX's Attention: past keys and values, and lengths


@dataclass(frozen=True)
class _Way:
    """The way from queries and keys to weights; ``scale`` is 1/√d where it is None."""

    scale: float | None
    causal: bool
    softcap: float = 0.0

    def attend(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        """Values (b, h, p, d_v) for queries (b, h, p, d); heads of keys may serve several."""
        if k.shape[1] != q.shape[1]:
            times = q.shape[1] // k.shape[1]
            k, v = (x.repeat_interleave(times, 1) for x in (k, v))
        scale = q.shape[-1] ** -0.5 if self.scale is None else self.scale
        scores = (q * scale) @ k.transpose(-1, -2)
        lowest = torch.finfo(scores.dtype).min
        if self.causal:
            later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
            scores = scores.masked_fill(later, lowest)
        if bias is not None:
            masked = bias.dtype == torch.bool
            scores = scores.masked_fill(~bias, lowest) if masked else scores + bias
        if self.softcap:
            scores = self.softcap * torch.tanh(scores / self.softcap)
        return scores.softmax(-1) @ v


def attention(node: Node) -> Function:
    """ONNX's Attention: heads along an axis, or side by side."""
    _refuse(node, _PAST, "what is past, or lengths")
    if node.attr("qk_matmul_output_mode", 0) or node.used_outputs > 1:
        raise node.refuse("further outputs")
    way = _Way(node.attr("scale"), bool(node.attr("is_causal", 0)), node.attr("softcap", 0.0))
    counts = [node.attr(f"{x}_num_heads") for x in ("q", "kv", "kv")]

    def run(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *_: None) -> Tensor:
        if q.ndim == 4:
            return way.attend(q, k, v, mask)
        q, k, v = (_apart(x, n) for x, n in zip((q, k, v), counts, strict=True))
        return _joined(way.attend(q, k, v, mask))

    return run


def fused_attention(node: Node) -> Function:
    """com.microsoft's Attention: one layer makes queries, keys and values."""
    _refuse(node, _OWN_MASKS, "a mask, or what is past")
    if node.used_outputs > 1 or node.attr("do_rotary", 0):
        raise node.refuse("further outputs, or turns by places")
    n, sizes = node.attr("num_heads"), node.attr("qkv_hidden_sizes")
    way = _own_way(node)

    def run(x: Tensor, w: Tensor, b: Tensor | None = None, *more: Tensor | None) -> Tensor:
        made = x @ w if b is None else x @ w + b
        parts = made.split(list(sizes) if sizes else made.shape[-1] // 3, -1)
        q, k, v = (_apart(part, n) for part in parts)
        return _joined(way.attend(q, k, v, more[2] if len(more) > 2 else None))

    return run


def multi_head_attention(node: Node) -> Function:
    """com.microsoft's MultiHeadAttention: a bias for all three, in one."""
    _refuse(node, (_JOINT_PADDING, *_JOINT_PAST), "a mask of padding, or what is past")
    if not (node.op.has(1) and node.op.has(2)) or node.used_outputs > 1:
        raise node.refuse("queries, keys and values in one input, or further outputs")
    n, way = node.attr("num_heads"), _own_way(node)

    def run(
        q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None, *more: Tensor | None
    ) -> Tensor:
        parts = [q, k, v]
        if bias is not None:
            sizes = [x.shape[-1] if x.ndim == 3 else n * x.shape[-1] for x in parts]
            shifts = bias.split(sizes)
            parts = [
                _apart(x, n) + _apart(s[None, None], n) for x, s in zip(parts, shifts, strict=True)
            ]
        q, k, v = (_apart(x, n) for x in parts)
        return _joined(way.attend(q, k, v, more[1] if len(more) > 1 else None))

    return run


def rotary_embedding(node: Node) -> Function:
    """Channels of a head are turned in pairs: halves, or neighbours where interleaved."""
    own = bool(node.op.domain)
    heads, width = node.attr("num_heads", 0), node.attr("rotary_embedding_dim", 0)
    neighbours = bool(node.attr("interleaved", 0))
    if node.attr("is_packed_batching", 0) or node.attr("scale", 1.0) != 1.0:
        raise node.refuse("packed batches, or a scale")

    def run(x: Tensor, *tables: Tensor | None) -> Tensor:
        cosines, sines, places = (*tables[1:], tables[0]) if own else (*tables, None)[:3]
        assert cosines is not None and sines is not None
        turned = 2 * cosines.shape[-1]
        y = x if x.ndim == 4 else _apart(x, heads or x.shape[-1] // (width or turned))
        if places is not None:
            at = places.long()
            at = at if at.numel() > 1 else at.reshape(1, 1) + torch.arange(y.shape[2])[None]
            cosines, sines = cosines[at.to(cosines.device)], sines[at.to(sines.device)]
        cosines, sines = cosines[:, None], sines[:, None]
        z, rest = y[..., :turned], y[..., turned:]
        a, b = (z[..., 0::2], z[..., 1::2]) if neighbours else z.chunk(2, -1)
        both = a * cosines - b * sines, a * sines + b * cosines
        z = torch.stack(both, -1).flatten(-2) if neighbours else torch.cat(both, -1)
        y = torch.cat([z, rest], -1)
        return y if x.ndim == 4 else _joined(y)

    return run


def _own_way(node: Node) -> _Way:
    """Of an op of com.microsoft, whose scale of 0 is none."""
    return _Way(node.attr("scale", 0.0) or None, bool(node.attr("unidirectional", 0)))


def _refuse(node: Node, inputs: tuple[int, ...], what: str) -> None:
    if any(node.op.has(i) for i in inputs):
        raise node.refuse(what)


def _apart(x: Tensor, heads: int) -> Tensor:
    """(b, p, h·d) as (b, h, p, d)."""
    return x if x.ndim == 4 else x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _joined(x: Tensor) -> Tensor:
    """(b, h, p, d) as (b, p, h·d)."""
    return x.transpose(1, 2).flatten(-2)
