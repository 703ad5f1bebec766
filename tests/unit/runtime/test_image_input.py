"""What the one data input of a model is, and what models have none."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from reprune_onnx.errors import ModelError, UsageError
from reprune_onnx.runtime.image_input import image_input


def model(*constants, elem_type=TensorProto.FLOAT, **shapes):
    inputs = [helper.make_tensor_value_info(n, elem_type, s) for n, s in shapes.items()]
    weights = [helper.make_tensor(n, TensorProto.FLOAT, [1], [0.0]) for n in constants]
    inputs += [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in constants]
    return helper.make_model(helper.make_graph([], "g", inputs, [], weights))


def test_image_input():
    port = image_input(model("w", x=["N", 3, 8, "W"]), {})
    assert (port.name, port.shape, port.dtype) == ("x", (None, 3, 8, None), np.float32)
    assert image_input(model(x=["N", 3, 8, "W"]), {"x": (1, 3, 8, 9)}).shape == (1, 3, 8, 9)
    with pytest.raises(ModelError, match=r"2 data inputs \(a, b\)"):
        image_input(model(a=[1], b=[1]), {})
    with pytest.raises(ModelError, match="type that numpy does not have"):
        image_input(model(x=[1, 3, 2, 2], elem_type=TensorProto.BFLOAT16), {})
    with pytest.raises(UsageError, match="no input 'y'"):
        image_input(model(x=[1, 3, 2, 2]), {"y": (1,)})
