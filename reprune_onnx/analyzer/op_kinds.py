"""The kinds of ops, once for all stages: which have weights, which pass values on, which decide."""

from __future__ import annotations

# ── layers ──────────────────────────────────────────────────────────────────────────────────────

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
"""Recurrent layers, and how many rows of its weights each hidden unit has."""
CONVOLUTIONS = ("Conv", "ConvTranspose")
MATRIX_PRODUCTS = ("Gemm", "MatMul")
PRODUCTS = (*CONVOLUTIONS, *MATRIX_PRODUCTS, "Einsum")
"""Ops that multiply their input by a weight."""
WEIGHTED = (*PRODUCTS, *sorted(GATES))
"""Ops that can be layers."""
LINEAR = frozenset({*CONVOLUTIONS, *MATRIX_PRODUCTS, *GATES})
"""Layers as ONNX has them."""
FITTED = LINEAR | {"Attention"}
"""Layers that a fit can give new weights; Attention is that of com.microsoft, which has some."""

# ── what passes values on ───────────────────────────────────────────────────────────────────────

SAME_VALUES = frozenset({"Identity", "Dropout"})
"""Ops that pass their input on unchanged, where nothing is trained."""
SAME_NUMBERS = SAME_VALUES | {"Cast"}
"""Ops that change at most the type of their input."""
SAME_ELEMENTS = frozenset(
    {"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
)
"""Ops that change at most the type, the shape and the order of their input's elements."""
MOVING = SAME_ELEMENTS | {"Gather", "Slice", "Split"}
"""Ops that pass elements on, all or some."""
RESIZING = frozenset({"Resize", "Upsample"})
"""Ops that change the sides of an image, by factors in floating point."""

# ── what computes ───────────────────────────────────────────────────────────────────────────────

ARITHMETIC = frozenset({"Add", "Sub", "Mul", "Div"})
"""Ops that shift or scale, where one of their inputs is constant."""
SUMS = frozenset(
    {
        "ReduceL1",
        "ReduceLogSum",
        "ReduceLogSumExp",
        "ReduceProd",
        "ReduceSum",
        "ReduceSumSquare",
    }
)
"""Ops whose result grows with the number of what they put together."""
COMPARISONS = frozenset({"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"})
"""Ops that compare two numbers."""
PROBABILITIES = frozenset({"HardSigmoid", "Sigmoid", "Softmax"})
"""Ops that turn scores into numbers between 0 and 1."""
SQUASHING = PROBABILITIES | {"Clip", "Hardmax", "LogSoftmax", "Softsign", "Tanh"}
"""Ops that flatten differences of their input where they saturate."""
MEASURING = frozenset({"Shape", "Size"})
"""Ops that read the extents of their input, but none of its values."""
RANDOM = frozenset(
    {
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)
"""Ops that draw other numbers in every run."""

# ── what holds other nodes ──────────────────────────────────────────────────────────────────────

LOOPS = frozenset({"Loop", "Scan"})
"""Ops that run the nodes of their body several times."""
WITH_BODIES = LOOPS | {"If"}
"""Ops with bodies: nodes of their own."""
