"""That a file in whole numbers stands for the float network that was proven."""

from __future__ import annotations

import numpy as np
import onnx

from reprune_onnx.analyzer.dequantized import QuantizedWeight, dequantized
from reprune_onnx.analyzer.functions import written_out
from reprune_onnx.analyzer.graph import to_array
from reprune_onnx.errors import VerificationError
from reprune_onnx.types import Bools, Floats, Model

_HALF = 0.501  # of a step: the farthest that rounding moves a value, and what float32 adds


def check_rounded(written: Model, proven: Model) -> None:
    """Raise VerificationError where a quantized file is not ``proven``, rounded.

    Its float network must have the same nodes, and constants that are equal, or in whole numbers
    and half a step away at most.
    """
    form = dequantized(written_out(written))
    if form is None:
        raise _differs("it has no whole numbers")
    network = form.network.proto.graph
    expected = {t.name: t for t in proven.proto.graph.initializer}
    left = {t.name: t for t in network.initializer}
    if [_facts(n) for n in network.node] != [_facts(n) for n in proven.proto.graph.node]:
        raise _differs("it has other nodes")
    for name in sorted(left.keys() | expected.keys()):
        if name not in left or name not in expected:
            raise _differs(f"constant '{name}' is in one of them alone")
        a, b = to_array(expected[name]), to_array(left[name])
        if a.shape != b.shape:
            raise _differs(f"constant '{name}' is {b.shape}, not {a.shape}")
        if np.array_equal(a, b):
            continue
        weight = form.weights.get(name)
        if weight is None or not _near(a.astype(np.float64), b.astype(np.float64), weight).all():
            raise _differs(f"constant '{name}' has other values")


def _near(a: Floats, b: Floats, weight: QuantizedWeight) -> Bools:
    """Whether values are half a step away at most, or beyond the range that there is."""
    whole = weight.whole
    scale, _ = weight.steps.along(whole.ndim)
    at_end = (whole == weight.steps.low) | (whole == weight.steps.high)
    result: Bools = (np.abs(a - b) <= _HALF * scale) | at_end
    return result


def _facts(node: onnx.NodeProto) -> tuple[object, ...]:
    attributes = sorted(a.SerializeToString(deterministic=True) for a in node.attribute)
    return node.op_type, node.domain, tuple(node.input), tuple(node.output), *attributes


def _differs(why: str) -> VerificationError:
    return VerificationError(
        f"the file in whole numbers is not the network that was proven ({why}): this is a bug of"
        " reprune-onnx; please report the model"
    )
