"""The kinds of ops, once for all stages: which have weights, and which pass values on."""

from __future__ import annotations

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
"""How many rows of its weights each hidden unit of a recurrent layer has."""
CONVOLUTIONS = ("Conv", "ConvTranspose")
MATRIX_PRODUCTS = ("Gemm", "MatMul")
PRODUCTS = (*CONVOLUTIONS, *MATRIX_PRODUCTS, "Einsum")
"""What multiplies its input by a weight."""
WEIGHTED = (*PRODUCTS, *sorted(GATES))
"""What can be a layer."""
LINEAR = frozenset({*CONVOLUTIONS, *MATRIX_PRODUCTS, *GATES})
"""Layers that a fit can give new weights."""

SAME_VALUES = frozenset({"Identity", "Dropout"})
"""What hands its input on as it is, where nothing is trained."""
SAME_NUMBERS = SAME_VALUES | {"Cast"}
"""What changes no more than the type of its input."""
SAME_ELEMENTS = frozenset(
    {"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
)
"""What changes no more than the type, the shape and the order of its input's elements."""
