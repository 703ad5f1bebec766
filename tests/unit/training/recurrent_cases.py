"""LSTM, GRU and RNN in all the forms that ONNX has: what the bridge's cases take from."""

from __future__ import annotations

from typing import Any

import numpy as np

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
T, B, I, H = 5, 3, 4, 2  # noqa: E741 (the input's size)
LENGTHS = np.array([5, 2, 3], np.int32)
TWO_LSTM = ["HardSigmoid", "Relu", "ScaledTanh", "Sigmoid", "Affine", "Tanh"]


def case(
    op: str,
    direction: str = "forward",
    *,
    states: bool = False,
    lengths: bool = False,
    **attrs: Any,
) -> tuple[str, list[Any], list[Any], dict[str, Any]]:
    """(op, data, constants, attributes); ``peepholes`` among the attributes adds that input."""
    rng = np.random.default_rng(7)

    def draw(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) * 0.7).astype(np.float32)

    d, g = (2 if direction == "bidirectional" else 1), GATES[op]
    peepholes = attrs.pop("peepholes", False)
    bias = None if attrs.pop("bare", False) else draw(d, 2 * g * H)
    constants: list[Any] = [draw(d, g * H, I), draw(d, g * H, H), bias]
    constants.append(LENGTHS if lengths else None)
    constants.append(draw(d, B, H) if states else None)
    if op == "LSTM":
        constants.append(draw(d, B, H) if states else None)
        constants.append(draw(d, 3 * H) if peepholes else None)
    return op, [draw(T, B, I)], constants, {"direction": direction, "hidden_size": H, **attrs}


RECURRENT = [
    *(case(op, way) for op in GATES for way in ("forward", "reverse", "bidirectional")),
    *(
        case(op, way, states=True, lengths=True)
        for op in GATES
        for way in ("reverse", "bidirectional")
    ),
    *(case(op, states=True, bare=True) for op in GATES),
    *(case(op, clip=0.4, states=True) for op in ("GRU", "RNN")),
    *(case("GRU", way, linear_before_reset=1, states=True) for way in ("forward", "bidirectional")),
    case("GRU", lengths=True, linear_before_reset=1),
    case("GRU", activations=["HardSigmoid", "Softsign"]),
    case("RNN", "bidirectional", activations=["Relu", "LeakyRelu"], activation_alpha=[0.3]),
    case("LSTM", peepholes=True, states=True),
    case("LSTM", "bidirectional", peepholes=True, lengths=True),
    case("LSTM", input_forget=1),
    case("LSTM", clip=0.3),
    case(
        *("LSTM", "bidirectional"),
        activations=TWO_LSTM,
        activation_alpha=[0.3, 1.2, 0.9],
        activation_beta=[0.4, 0.8, 0.1],
    ),
]
