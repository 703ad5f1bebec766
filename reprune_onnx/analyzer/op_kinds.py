"""The kinds of ops, once for all stages: which have weights, which pass values on, which decide."""

from __future__ import annotations

# ── layers ──────────────────────────────────────────────────────────────────────────────────────

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
"""Recurrent layers, and how many rows of its weights each hidden unit has."""
CONVOLUTIONS = ("Conv", "ConvTranspose")
MATRIX_PRODUCTS = ("Gemm", "MatMul")
PRODUCTS = (*CONVOLUTIONS, *MATRIX_PRODUCTS, "Einsum")
"""What multiplies its input by a weight."""
WEIGHTED = (*PRODUCTS, *sorted(GATES))
"""What can be a layer."""
LINEAR = frozenset({*CONVOLUTIONS, *MATRIX_PRODUCTS, *GATES})
"""Layers that a fit can give new weights."""

# ── what passes values on ───────────────────────────────────────────────────────────────────────

SAME_VALUES = frozenset({"Identity", "Dropout"})
"""What hands its input on as it is, where nothing is trained."""
SAME_NUMBERS = SAME_VALUES | {"Cast"}
"""What changes no more than the type of its input."""
SAME_ELEMENTS = frozenset(
    {"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
)
"""What changes no more than the type, the shape and the order of its input's elements."""
RESIZING = frozenset({"Resize", "Upsample"})
"""What changes the sides of an image, by factors in floating point."""

# ── what computes ───────────────────────────────────────────────────────────────────────────────

ARITHMETIC = frozenset({"Add", "Sub", "Mul", "Div"})
"""What shifts or scales, where one of its inputs is constant."""
COMPARISONS = frozenset({"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"})
"""What makes a truth value of two numbers."""
PROBABILITIES = frozenset({"HardSigmoid", "Sigmoid", "Softmax"})
"""What makes numbers between 0 and 1 of scores."""
SQUASHING = PROBABILITIES | {"Clip", "Hardmax", "LogSoftmax", "Softsign", "Tanh"}
"""What flattens differences of its input where it is saturated."""
MEASURING = frozenset({"Shape", "Size"})
"""What reads no value of its input, only its extents."""
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
"""What draws other numbers in every run."""

# ── what holds other nodes ──────────────────────────────────────────────────────────────────────

LOOPS = frozenset({"Loop", "Scan"})
"""What runs the nodes of its body several times."""
WITH_BODIES = LOOPS | {"If"}
"""What holds nodes of its own."""
