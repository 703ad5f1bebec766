"""Whether a converted file computes what the original computes, in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from reprune_onnx.errors import ModelError, VerificationError
from reprune_onnx.runtime.ort import Session
from reprune_onnx.verification.compare import Arrays, difference, finite
from reprune_onnx.verification.control import CONTROL_FACTOR
from reprune_onnx.verification.inputs import runs

ALLOWED = 1e-4
"""The difference that a file in the same precision may have, relative to an output's scale."""

_WRONG = -3.0  # what a weight is multiplied by in the negative control
_CONTROLS = 5  # weights tried, from the last


def compare(
    original: onnx.ModelProto,
    converted: onnx.ModelProto,
    shapes: Mapping[str, tuple[int, ...]],
    allowed: float = ALLOWED,
) -> float:
    """Return the largest difference of an output, relative to its largest magnitude.

    Both run with graph optimisation off on several random inputs, and on two sizes where sizes are
    symbolic. Raises VerificationError where the difference is larger than ``allowed``, or where it
    shows nothing: a weight that is wrong on purpose must make ten times as much.
    """
    before = Session(original, optimize=False)
    tried = list(runs(original, before, dict(shapes)))
    if not any(finite(outputs) for _, outputs in tried):
        raise VerificationError(
            "nothing could be compared: the original's outputs are not finite on random inputs;"
            " check its weights for values that are not finite, or too large"
        )
    try:
        worst = _worst(converted, tried)
    except ModelError as error:
        raise VerificationError(f"the converted model does not run: {error}") from error
    if worst > allowed:
        raise VerificationError(
            f"the converted model differs from the original by {worst:.3g} of its output's scale,"
            f" more than the {allowed:.3g} allowed: it is not written"
        )
    if not _shows(converted, tried, CONTROL_FACTOR * allowed):
        raise VerificationError(
            "nothing could be proven: weights that are wrong on purpose do not show in the outputs"
            " on random inputs"
        )
    return worst


def _worst(model: onnx.ModelProto, tried: list[tuple[Arrays, Arrays]]) -> float:
    session = Session(model, optimize=False)
    names = [o.name for o in session.outputs]
    return max(difference(e, session.run(feeds), names).relative for feeds, e in tried)


def _shows(model: onnx.ModelProto, tried: list[tuple[Arrays, Arrays]], wanted: float) -> bool:
    """Whether a wrong weight makes a difference of ``wanted``."""
    tensors = {t.name: t for t in model.graph.initializer}
    read = [name for node in model.graph.node for name in node.input if name in tensors]
    weights = [name for name in dict.fromkeys(read) if _is_weight(tensors[name])]
    for name in weights[::-1][:_CONTROLS]:
        wrong = onnx.ModelProto()
        wrong.CopyFrom(model)
        tensor = next(t for t in wrong.graph.initializer if t.name == name)
        array = onnx.numpy_helper.to_array(tensor)
        tensor.CopyFrom(onnx.numpy_helper.from_array((array * _WRONG).astype(array.dtype), name))
        if _worst(wrong, tried) >= wanted:
            return True
    return not weights


def _is_weight(tensor: onnx.TensorProto) -> bool:
    kinds = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    return tensor.data_type in kinds and len(tensor.dims) > 1 and int(np.prod(tensor.dims)) > 1
