"""Small models from the text form of ONNX."""

from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper


def model(text: str, **weights: Any) -> onnx.ModelProto:
    """Parse ``text``; ``weights`` become initializers, floats in float32."""
    proto = onnx.parser.parse_model(text)
    for name, value in weights.items():
        array = np.asarray(value)
        array = array.astype(np.float32) if array.dtype.kind == "f" else array
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    return proto
