"""Layers that read channels and start others."""

from __future__ import annotations

from rule_graphs import Case

LAYERS = [
    Case(
        "ConvTranspose reads it",
        "[other] z = ConvTranspose <strides = [2,2]> (c, d_w, d_b)",
        "float[8,6,2,2] d_w, float[6] d_b",
        n=6,
        shapes={"d_w": (4, 3, 2, 2), "d_b": (3,), "head_w": (2, 3, 1, 1)},
    ),
    Case(
        "depthwise Conv",
        "[other] z = Conv <group = 8> (c, d_w)",
        "float[8,1,1,1] d_w",
        shapes={"d_w": (4, 1, 1, 1)},
        keep=[],
    ),
    Case(
        "depthwise ConvTranspose",
        "[other] z = ConvTranspose <group = 8> (c, d_w)",
        "float[8,1,2,2] d_w",
        shapes={"d_w": (4, 1, 2, 2)},
        keep=[],
    ),
    Case(
        "grouped Conv",
        "[other] z = Conv <group = 2> (c, d_w)",
        "float[6,4,1,1] d_w",
        n=6,
        keep=[],
    ),
    Case(
        "Gemm with the matrix as it is",
        "g = GlobalAveragePool (c)\n h = Flatten (g)\n [other] r = Gemm (h, m, b)\n"
        "y = Gemm <transB = 1> (r, k)",
        "float[8,6] m, float[6] b, float[2,6] k",
        shapes={"m": (4, 3), "b": (3,), "k": (2, 3)},
    ),
    Case(
        "Gemm with one bias for all",
        "g = GlobalAveragePool (c)\n h = Flatten (g)\n [other] r = Gemm (h, m, b)\n"
        "y = Gemm <transB = 1> (r, k)",
        "float[8,6] m, float[1] b, float[2,6] k",
        shapes={"m": (4, 3), "b": (1,), "k": (2, 3)},
    ),
    Case(
        "MatMul with a matrix that the graph transposes",
        "g = GlobalAveragePool (c)\n h = Flatten (g)\n t = Transpose <perm = [1, 0]> (m)\n"
        "y = MatMul (h, t)",
        "float[2,8] m",
        shapes={"t": (4, 2)},
    ),
    Case(
        "Einsum that is a matmul",
        "t = Transpose <perm = [0,2,3,1]> (c)\n"
        ' m = Einsum <equation = "bhwc,cd->bhwd"> (t, k)\n'
        "z = Transpose <perm = [0,3,1,2]> (m)",
        "float[8,6] k",
        n=6,
        shapes={"k": (4, 3), "head_w": (2, 3, 1, 1)},
    ),
    Case(
        "Conv with a weight that the graph standardises",
        "m = ReduceMean <axes = [1, 2, 3]> (d_w)\n s = Sub (d_w, m)\n [other] z = Conv (c, s)",
        "float[6,8,1,1] d_w",
        n=6,
        shapes={"s": (3, 4, 1, 1)},
    ),
    Case(
        "Conv with a bias of zeros that the graph makes",
        "s = Shape <start = 0, end = 1> (d_w)\n o = CastLike (zero, c)\n b = Expand (o, s)\n"
        "[other] z = Conv (c, d_w, b)",
        "float[6,8,1,1] d_w, float zero = {0.0}",
        n=6,
        shapes={"d_w": (3, 4, 1, 1), "b": (3,)},
    ),
    Case(
        "Conv whose outputs stay, with such a bias",
        "s = Shape <start = 0, end = 1> (d_w)\n o = CastLike (zero, c)\n b = Expand (o, s)\n"
        "y = Conv (c, d_w, b)",
        "float[6,8,1,1] d_w, float zero = {0.0}",
        shapes={"d_w": (6, 4, 1, 1)},
        integers={"s": [6]},
    ),
    Case(
        "two Convs with one bias",
        "[other] d = Conv (c, d_w, b)\n [another] e = Conv (c, e_w, b)\n z = Mul (d, e)",
        "float[6,8,1,1] d_w, float[6,8,1,1] e_w, float[6] b",
        n=6,
        shapes={"d_w": (3, 4, 1, 1), "e_w": (3, 4, 1, 1), "b": (3,)},
    ),
]
