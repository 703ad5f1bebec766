"""Recurrent layers read channels and make hidden units."""

from __future__ import annotations

from rule_graphs import Case

_INTO = "s = ReduceMean <axes = [2], keepdims = 0> (c)\n t = Transpose <perm = [2,0,1]> (s)\n"

RECURRENT = [
    Case(
        "LSTM in both directions with peepholes and first states",
        _INTO + '[other] h = LSTM <hidden_size = 6, direction = "bidirectional">'
        " (t, m_w, m_r, m_b, , h0, c0, m_p)\n"
        "p = Transpose <perm = [0,2,1,3]> (h)\n q = Reshape (p, to)\n y = MatMul (q, k)",
        "float[2,24,8] m_w, float[2,24,6] m_r, float[2,48] m_b, float[2,1,6] h0, float[2,1,6] c0,"
        " float[2,18] m_p, float[12,3] k, int64[3] to = {0, 0, 12}",
        shapes={
            "m_w": (2, 12, 4),
            "m_r": (2, 12, 3),
            "m_b": (2, 24),
            "h0": (2, 1, 3),
            "c0": (2, 1, 3),
            "m_p": (2, 9),
            "k": (6, 3),
        },
        integers={"to": [0, 0, 6]},
    ),
    Case(
        "GRU whose last state is read",
        _INTO + "[other] , h = GRU <hidden_size = 6, linear_before_reset = 1> (t, m_w, m_r, m_b)\n"
        "q = Squeeze (h, one)\n y = MatMul (q, k)",
        "float[1,18,8] m_w, float[1,18,6] m_r, float[1,36] m_b, float[6,3] k, int64[1] one = {0}",
        shapes={"m_w": (1, 9, 4), "m_r": (1, 9, 3), "m_b": (1, 18), "k": (3, 3)},
    ),
    Case(
        "RNN backwards, with lengths",
        _INTO + '[other] h = RNN <hidden_size = 6, direction = "reverse">'
        " (t, m_w, m_r, , lengths)\n q = Squeeze (h, one)\n y = MatMul (q, k)",
        "float[1,6,8] m_w, float[1,6,6] m_r, float[6,3] k, int64[1] one = {1},"
        " int32[1] lengths = {5}",
        shapes={"m_w": (1, 3, 4), "m_r": (1, 3, 3), "k": (3, 3)},
    ),
]
