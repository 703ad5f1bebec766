"""Attention as one node: of four heads of two channels each, two go."""

from __future__ import annotations

from rule_graphs import Case

_ROWS = "r = Reshape (c, rows)\n t = Transpose <perm = [0,2,1]> (r)\n"
_IMAGE = "\n v = Transpose <perm = [0,2,1]> (u)\n s = Shape (c)\n z = Reshape (v, s)"
_WEIGHTS = "int64[3] rows = {0, 8, -1}"
_PLACES = """b = Shape <start = 0, end = 1> (t)  n = Shape <start = 1, end = 2> (t)
 l = Squeeze (n)  p = Range (zero, l, one)  q = Unsqueeze (p, first)  e = Concat <axis = 0> (b, n)
 places = Expand (q, e)
"""
_TABLES = "float[1024,1] cosines, float[1024,1] sines, int64[1] first = {0}"
_COUNTED = f"{_WEIGHTS}, {_TABLES}, int64 zero = {{0}}, int64 one = {{1}}"

ATTENTION = [
    Case(
        "com.microsoft's Attention",
        _ROWS + "[other] u = com.microsoft.Attention <num_heads = 4> (t, m, k)" + _IMAGE,
        f"{_WEIGHTS}, float[8,24] m, float[24] k",
        shapes={"m": (4, 12), "k": (12,), "head_w": (2, 4, 1, 1)},
    ),
    Case(
        "com.microsoft's MultiHeadAttention",
        _ROWS + "u = com.microsoft.MultiHeadAttention <num_heads = 4> (t, t, t, k)" + _IMAGE,
        f"{_WEIGHTS}, float[24] k",
        keep=[],
        shapes={"k": (12,)},
    ),
    Case(
        "com.microsoft's GroupQueryAttention",
        _ROWS
        + """[q] q = MatMul (t, q_w)  [k] k = MatMul (t, k_w)  [v] v = MatMul (t, v_w)
 n = Shape <start = 1, end = 2> (t)  b = Shape <start = 0, end = 1> (t)  l = Sub (n, one)
 ls = Expand (l, b)  lengths = Cast <to = 6> (ls)  longest = Cast <to = 6> (n)
 a, pk, pv = com.microsoft.GroupQueryAttention <num_heads = 8, kv_num_heads = 4>
 (q, k, v, "", "", lengths, longest)
 [other] u = MatMul (a, o_w)"""
        + _IMAGE.replace("v = ", "w = ").replace("(v, s)", "(w, s)"),
        f"{_WEIGHTS}, float[8,64] q_w, float[8,32] k_w, float[8,32] v_w, float[64,8] o_w,"
        " int64[1] one = {1}",
        shapes={"q_w": (4, 32), "k_w": (4, 16), "v_w": (4, 16), "o_w": (32, 4)},
    ),
    Case(
        "com.microsoft's RotaryEmbedding",
        _ROWS
        + "u = com.microsoft.RotaryEmbedding <num_heads = 4> (t, first, cosines, sines)"
        + _IMAGE,
        f"{_WEIGHTS}, {_TABLES}",
        keep=[],
    ),
    Case(
        "Attention",
        _ROWS + "u = Attention <q_num_heads = 4, kv_num_heads = 4> (t, t, t)" + _IMAGE,
        _WEIGHTS,
        opset=23,
        since="1.23",
        keep=[],
    ),
    Case(
        "RotaryEmbedding",
        _ROWS
        + _PLACES
        + "u = RotaryEmbedding <num_heads = 4> (t, cosines, sines, places)"
        + _IMAGE,
        _COUNTED,
        opset=23,
        since="1.23",
        keep=[],
    ),
]
