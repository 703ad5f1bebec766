"""The proof that a network with streams in another basis computes what it did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.analyzer.fold import folded
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.errors import VerificationError
from reprune_onnx.precision import as_float32
from reprune_onnx.runtime.ort import Session
from reprune_onnx.verification.compare import difference, tensor_outputs

_TOLERANCE = 1e-3  # of an output's largest magnitude: layers are rounded anew
_BATCHES = 2


def check_turned(
    original: Graph, turned: Graph, images: Sequence[dict[str, NDArray[Any]]]
) -> float:
    """Compare all outputs on the first images; the largest difference, relative to its output.

    Of the same graph it is 0, and nothing runs. Raises VerificationError where it is more than
    rounding.
    """
    if turned is original:
        return 0.0
    protos = [as_float32(folded(graph.proto)) for graph in (original, turned)]
    names = tensor_outputs(protos[0])
    before, after = (Session(proto, optimize=False, outputs=names) for proto in protos)
    differences = [
        difference(before.run(feeds), after.run(feeds), names).relative
        for feeds in images[:_BATCHES]
    ]
    worst = max(differences)
    if not np.isfinite(worst) or worst > _TOLERANCE:
        raise VerificationError(
            f"with its residual streams in another basis the model's outputs differ by {worst:.2g}"
            f" of their magnitude, more than {_TOLERANCE:.2g}, which rounding may make: keep the"
            " file's basis (--basis file)"
        )
    return worst
