"""Fused ops as plain ones of the same shape, for ONNX's inference, which knows none of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import onnx

from reprune_onnx.bodies import with_bodies

_ACTIVATION = ("activation", "alpha_", "beta_", "gamma_")
_INPUTS = 3  # of a plain Conv or Gemm; what else a fused one reads is added to the result
_OF_SAME_SHAPE = (
    *("BiasAdd", "BiasGelu", "FastGelu", "Gelu", "QuickGelu", "LayerNormalization"),
    *("SimplifiedLayerNormalization", "SkipLayerNormalization", "SkipSimplifiedLayerNormalization"),
)


def in_plain_ops(nodes: Sequence[onnx.NodeProto], matrices: Collection[str]) -> None:
    """Change fused nodes, also in bodies, to ops of which inference tells the shape.

    They compute something else then; only what follows from shapes holds. Their names and first
    outputs stay. ``matrices`` are the names of constants of rank 2.
    """
    for node in with_bodies(nodes):
        rewrite = _PLAIN.get(f"{node.domain}::{node.op_type}")
        if rewrite is not None:
            rewrite(node, matrices)


def _same(node: onnx.NodeProto, _: Collection[str]) -> None:
    _become(node, "Identity", 1, ())


def _conv(node: onnx.NodeProto, _: Collection[str]) -> None:
    kept = [a for a in node.attribute if not a.name.startswith(_ACTIVATION)]
    _become(node, "Conv", _INPUTS, kept)


def _gemm(node: onnx.NodeProto, _: Collection[str]) -> None:
    kept = [a for a in node.attribute if a.name in ("alpha", "beta", "transA", "transB")]
    _become(node, "Gemm", _INPUTS, kept)


def _matmul(node: onnx.NodeProto, matrices: Collection[str]) -> None:
    flags = {a.name: a.i for a in node.attribute}
    if flags.get("transBatchA") or flags.get("transBatchB"):
        return
    left, right = "ji" if flags.get("transA") else "ij", "kj" if flags.get("transB") else "jk"
    batches = "" if node.input[1] in matrices else "..."
    equation = onnx.helper.make_attribute("equation", f"...{left},{batches}{right}->...ik")
    _become(node, "Einsum", 2, [equation])


def _become(
    node: onnx.NodeProto, op: str, inputs: int, attributes: Sequence[onnx.AttributeProto]
) -> None:
    kept = [onnx.AttributeProto.FromString(a.SerializeToString()) for a in attributes]
    node.domain, node.op_type = "", op
    del node.input[inputs:], node.output[1:], node.attribute[:]
    node.attribute.extend(kept)


_PLAIN: dict[str, Callable[[onnx.NodeProto, Collection[str]], None]] = {
    "com.microsoft::FusedConv": _conv,
    "com.microsoft::FusedGemm": _gemm,
    "com.microsoft::FusedMatMul": _matmul,
    "com.microsoft::TransposeMatMul": _matmul,
    **dict.fromkeys(
        ("::SimplifiedLayerNormalization", *(f"com.microsoft::{op}" for op in _OF_SAME_SHAPE)),
        _same,
    ),
}
