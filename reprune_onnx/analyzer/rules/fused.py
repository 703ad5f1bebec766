"""Ops of com.microsoft: what ONNX Runtime's optimizer makes of a few plain ops."""

from __future__ import annotations

from dataclasses import replace

import onnx

from reprune_onnx.analyzer.drafts import ResidualAdd, SiteDraft
from reprune_onnx.analyzer.graph import Op
from reprune_onnx.analyzer.labels import varying
from reprune_onnx.analyzer.rules.convolution import conv
from reprune_onnx.analyzer.rules.elementwise import residual_add
from reprune_onnx.analyzer.rules.linear import gemm, matmul
from reprune_onnx.analyzer.rules.normalization import mix, statistic
from reprune_onnx.analyzer.walk import Walk
from reprune_onnx.types import Labels

_SUM = 3  # the input of FusedConv that is added
_TOTAL = 3  # the output of SkipLayerNormalization that is the sum
_BIAS = {"SkipLayerNormalization": 4, "SkipSimplifiedLayerNormalization": 3}  # that is summed too


def fused_conv(op: Op, w: Walk) -> Labels | None:
    """A Conv, to which a further input may be added, and an activation."""
    made = conv(_onnx_op(op, w, "Conv", (0, 1, 2)), w)
    if made is None or not op.has(_SUM):
        return made
    if not w.is_activation(op, _SUM) or len(w.labels(op, _SUM).shape) != len(made.shape):
        reason = f"{op.title} adds '{op.inputs[_SUM]}', which is a constant or of another rank"
        w.lock(op, made.ids, reason)
        return made
    other = w.labels(op, _SUM)
    w.space.tie(made.ids, w.flat(op, other.ids, (1,)))
    if varying(other.ids):
        w.adds.append(ResidualAdd(op, (made.ids, other.ids)))
    return made


def fused_gemm(op: Op, w: Walk) -> Labels | None:
    """A Gemm and an activation."""
    return gemm(_onnx_op(op, w, "Gemm", (0, 1, 2)), w)


def fused_matmul(op: Op, w: Walk) -> Labels | None:
    """A MatMul times ``alpha``; a constant matrix may be transposed."""
    turned = [a for a in ("transA", "transBatchA", "transBatchB") if op.attrs.get(a, 0)]
    if turned or (op.attrs.get("transB", 0) and not w.is_constant(op, 1)):
        return None
    if not op.attrs.get("transB", 0):
        return matmul(_onnx_op(op, w, "MatMul", (0, 1)), w)
    return matmul(_onnx_op(op, w, "MatMul", (0, 1)), w, in_axis=1)


def biased(op: Op, w: Walk) -> Labels | None:
    """A bias along the last axis is added, and perhaps a shortcut, before an activation."""
    return residual_add(op, w)


def skip_layer_norm(op: Op, w: Walk) -> list[Labels | None] | None:
    """The sum of two inputs and a bias, and the LayerNormalization of it over the last axis."""
    bias = _BIAS[op.type]
    total = residual_add(_onnx_op(op, w, "Sum", (0, 1, bias)), w)
    if total is None:
        return None
    last = len(total.shape) - 1
    inputs = tuple(i for i in (0, 1) if w.is_activation(op, i))
    outputs = tuple(k for k in (0, _TOTAL) if k < len(op.outputs) and op.outputs[k])
    in_place = all(len(w.labels(op, i).shape) == last + 1 for i in inputs)
    if not (in_place and statistic(op, w, [last], outputs, (total, inputs))):
        mixed = mix(op, w, [last], by_option=in_place, x=total)
        return [mixed, None, None, total][: len(op.outputs)]
    for i in range(2, bias):  # scale and shift
        if op.has(i):
            w.site(SiteDraft(op, i, 0, total.ids, last, "param"))
    return [total, None, None, total][: len(op.outputs)]


def pool_channels_last(op: Op, w: Walk) -> Labels:
    """Windows over the axes between the first and the last, which is that of the channels."""
    x = w.labels(op)
    last = len(x.shape) - 1
    return Labels((x.shape[0], *[None] * (last - 1), x.shape[last]), w.flat(op, x.ids, (last,)))


def _onnx_op(op: Op, w: Walk, kind: str, inputs: tuple[int, ...]) -> Op:
    """The op that ``op`` computes with some of its inputs, which keep their places."""
    last = max(i for i in inputs if op.has(i))
    names = tuple(op.inputs[i] if i in inputs else "" for i in range(last + 1))
    opset = w.graph.opsets.get("", 1)
    attributes = set(onnx.defs.get_schema(kind, opset, "").attributes)
    node = onnx.helper.make_node(kind, names, op.outputs[:1], name=op.proto.name)
    node.attribute.extend(a for a in op.proto.attribute if a.name in attributes)
    return replace(
        op,
        type=kind,
        domain="",
        inputs=names,
        outputs=op.outputs[:1],
        attrs={k: v for k, v in op.attrs.items() if k in attributes},
        opset=opset,
        proto=node,
        called=op.type,
    )
