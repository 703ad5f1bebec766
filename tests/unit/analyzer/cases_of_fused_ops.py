"""Ops of com.microsoft that ONNX Runtime's optimizer writes."""

from __future__ import annotations

from rule_graphs import Case

_ROWS = "g = GlobalAveragePool (c)\n h = Flatten (g)\n"
_LAST = "t = Transpose <perm = [0,2,3,1]> (c)\n"
_BACK = "z = Transpose <perm = [0,3,1,2]> (u)"

FUSED = [
    Case(
        "FusedConv with an activation",
        '[other] z = com.microsoft.FusedConv <activation = "LeakyRelu", activation_params = [0.1]>'
        " (c, d_w, d_b)",
        "float[6,8,1,1] d_w, float[6] d_b",
        n=6,
        shapes={"d_w": (3, 4, 1, 1), "d_b": (3,), "head_w": (2, 3, 1, 1)},
    ),
    Case(
        "FusedConv that adds a shortcut",
        '[other] z = com.microsoft.FusedConv <activation = "Relu", pads = [1,1,1,1]>'
        " (c, d_w, d_b, c)",
        "float[8,8,3,3] d_w, float[8] d_b",
        shapes={"d_w": (4, 4, 3, 3), "d_b": (4,)},
        keep=[],
    ),
    Case(
        "depthwise FusedConv",
        '[other] z = com.microsoft.FusedConv <activation = "Sigmoid", group = 8> (c, d_w)',
        "float[8,1,1,1] d_w",
        shapes={"d_w": (4, 1, 1, 1)},
        keep=[],
    ),
    Case(
        "FusedGemm",
        _ROWS + '[other] r = com.microsoft.FusedGemm <activation = "Tanh", transB = 1> (h, m, b)\n'
        "y = MatMul (r, k)",
        "float[6,8] m, float[6] b, float[6,2] k",
        shapes={"m": (3, 4), "b": (3,), "k": (3, 2)},
    ),
    Case(
        "FusedMatMul with a matrix as it is",
        _ROWS + "[other] r = com.microsoft.FusedMatMul <alpha = 0.5> (h, m)\n y = MatMul (r, k)",
        "float[8,6] m, float[6,2] k",
        shapes={"m": (4, 3), "k": (3, 2)},
    ),
    Case(
        "FusedMatMul with a transposed matrix",
        _ROWS + "[other] r = com.microsoft.FusedMatMul <transB = 1> (h, m)\n y = MatMul (r, k)",
        "float[6,8] m, float[6,2] k",
        shapes={"m": (3, 4), "k": (3, 2)},
    ),
    Case(
        "TransposeMatMul",
        _ROWS + "[other] r = com.microsoft.TransposeMatMul <transB = 1> (h, m)\n y = MatMul (r, k)",
        "float[6,8] m, float[6,2] k",
        shapes={"m": (3, 4), "k": (3, 2)},
    ),
    Case("Gelu of com.microsoft", "z = com.microsoft.Gelu (c)"),
    Case("QuickGelu", "z = com.microsoft.QuickGelu <alpha = 1.7> (c)"),
    Case("FastGelu without a bias", "z = com.microsoft.FastGelu (c)"),
    Case(
        "FastGelu with a bias",
        _LAST + "u = com.microsoft.FastGelu (t, b)\n" + _BACK,
        "float[8] b",
        shapes={"b": (4,)},
    ),
    Case(
        "BiasGelu",
        _LAST + "u = com.microsoft.BiasGelu (t, b)\n" + _BACK,
        "float[8] b",
        shapes={"b": (4,)},
    ),
]

MIXED = [
    Case(
        "SkipLayerNormalization over the channels",
        "p = GlobalAveragePool (c)\n q = Squeeze (p, two)\n t = Transpose <perm = [0,2,1]> (q)\n"
        "u = com.microsoft.SkipLayerNormalization (t, t, k, k, k)\n y = MatMul (u, m)",
        "int64[1] two = {3}, float[8] k, float[8,2] m",
        reason="SkipLayerNormalization.* mixes",
    ),
    Case(
        "SkipSimplifiedLayerNormalization over the channels",
        "p = GlobalAveragePool (c)\n q = Squeeze (p, two)\n t = Transpose <perm = [0,2,1]> (q)\n"
        "u = com.microsoft.SkipSimplifiedLayerNormalization (t, t, k)\n y = MatMul (u, m)",
        "int64[1] two = {3}, float[8] k, float[8,2] m",
        reason="SkipSimplifiedLayerNormalization.* mixes",
    ),
    Case(
        "SimplifiedLayerNormalization over the channels",
        _LAST + "u = SimplifiedLayerNormalization <axis = -1> (t, k)\n" + _BACK,
        "float[8] k",
        reason="SimplifiedLayerNormalization.* mixes",
    ),
    Case(
        "FusedMatMul whose first matrix is transposed",
        _ROWS + "y = com.microsoft.FusedMatMul <transA = 1> (h, m)",
        "float[1,2] m",
        reason="FusedMatMul.* is not understood",
    ),
]
