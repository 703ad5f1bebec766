"""Attention in one node, and what ONNX Runtime's optimizer fuses, against ONNX Runtime.

A case is (op, inputs, constants behind them, attributes, opset, outputs).
"""

from __future__ import annotations

from typing import Any

import numpy as np

RNG = np.random.default_rng(5)
B, P, H, D, C = 2, 5, 3, 4, 8
MS = "com.microsoft::"


def normal(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


ROWS = normal(B, P, C)
QKV = [normal(B, P, H * D) for _ in "qkv"]
APART = [normal(B, H, P, D) for _ in "qkv"]
MORE = [normal(B, P, 2 * H * D), *QKV[1:]]
NUMBERS = {"q_num_heads": H, "kv_num_heads": H}
ANGLES = (np.arange(32 * D // 2) / 7).astype(np.float32).reshape(32, -1)
TABLES = [np.cos(ANGLES), np.sin(ANGLES)]
PLACES = np.tile(np.arange(P), (B, 1))
OF_PLACES = [table[PLACES] for table in TABLES]
SCALES = [normal(C), normal(C)]
IMAGE, KERNELS = normal(2, 4, 7, 9), normal(6, 4, 3, 3)

ATTENTION: list[tuple[str, list[Any], list[Any], dict[str, Any], int, int]] = [
    ("Attention", QKV, [], NUMBERS, 23, 1),
    ("Attention", APART, [], {"scale": 0.3, "is_causal": 1}, 23, 1),
    ("Attention", QKV, [normal(H, P, P)], NUMBERS, 23, 1),
    ("Attention", QKV, [RNG.random((P, P)) > 0.3], NUMBERS, 23, 1),
    ("Attention", MORE, [], {**NUMBERS, "q_num_heads": 2 * H}, 23, 1),
    ("Attention", APART, [], {"softcap": 2.0}, 23, 1),
    *(
        ("RotaryEmbedding", [x], [*TABLES, PLACES], {"num_heads": H, "interleaved": k}, 23, 1)
        for k in (0, 1)
        for x in (QKV[0], APART[0])
    ),
    ("RotaryEmbedding", [APART[0]], OF_PLACES, {}, 23, 1),
    *(
        (f"{MS}RotaryEmbedding", [QKV[0]], [at, *TABLES], {"num_heads": H, "interleaved": k}, 17, 1)
        for k in (0, 1)
        for at in (np.array([2]), PLACES)
    ),
    (f"{MS}Attention", [ROWS], [normal(C, 3 * H * D), normal(3 * H * D)], {"num_heads": H}, 17, 1),
    (
        f"{MS}Attention",
        [ROWS],
        [normal(C, 42), normal(42), None, None, normal(1, H, P, P)],
        {"num_heads": H, "qkv_hidden_sizes": [12, 12, 18], "scale": 0.4},
        17,
        1,
    ),
    (
        f"{MS}Attention",
        [ROWS],
        [normal(C, 3 * H * D), normal(3 * H * D)],
        {"num_heads": H, "unidirectional": 1},
        17,
        1,
    ),
    (f"{MS}MultiHeadAttention", QKV, [], {"num_heads": H}, 17, 1),
    (f"{MS}MultiHeadAttention", QKV, [normal(3 * H * D)], {"num_heads": H, "scale": 0.2}, 17, 1),
    (
        f"{MS}MultiHeadAttention",
        [QKV[0], *APART[1:]],
        [None, None, normal(1, H, P, P)],
        {"num_heads": H},
        17,
        1,
    ),
    (f"{MS}SkipLayerNormalization", [ROWS, ROWS[::-1]], [*SCALES, normal(C)], {}, 17, 1),
    (f"{MS}SkipLayerNormalization", [ROWS, ROWS[::-1]], SCALES[:1], {"epsilon": 0.1}, 17, 1),
    (f"{MS}SkipSimplifiedLayerNormalization", [ROWS, ROWS[::-1]], SCALES, {}, 17, 1),
    ("SimplifiedLayerNormalization", [ROWS], SCALES[:1], {"epsilon": 0.1}, 17, 1),
    (f"{MS}Gelu", [ROWS], [], {}, 17, 1),
    (f"{MS}QuickGelu", [ROWS], [], {"alpha": 1.3}, 17, 1),
    (f"{MS}FastGelu", [ROWS], [], {}, 17, 1),
    (f"{MS}FastGelu", [ROWS], SCALES[:1], {}, 17, 1),
    (f"{MS}BiasGelu", [ROWS], SCALES[:1], {}, 17, 1),
    *(
        (f"{MS}FusedConv", [IMAGE], [KERNELS, normal(6)], {"activation": name, **more}, 17, 1)
        for name, more in (
            ("Relu", {}),
            ("Tanh", {}),
            ("LeakyRelu", {"activation_params": [0.3]}),
            ("Clip", {"activation_params": [-0.5, 0.5]}),
            ("HardSigmoid", {"activation_params": [0.3, 0.4]}),
        )
    ),
    (
        f"{MS}FusedConv",
        [IMAGE],
        [KERNELS, normal(6), normal(2, 6, 5, 7)],
        {"activation": "Relu"},
        17,
        1,
    ),
    (
        f"{MS}FusedGemm",
        [ROWS[0]],
        [normal(6, C), normal(6)],
        {"transB": 1, "activation": "LeakyRelu", "activation_alpha": 0.2},
        17,
        1,
    ),
    (f"{MS}FusedMatMul", [ROWS], [normal(C, 6)], {"alpha": 0.5}, 17, 1),
    (f"{MS}FusedMatMul", [ROWS], [normal(6, C)], {"transB": 1}, 17, 1),
    (f"{MS}TransposeMatMul", [ROWS], [normal(6, C)], {"transB": 1, "alpha": 2.0}, 17, 1),
]
