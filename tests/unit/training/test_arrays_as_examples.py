"""Training on inputs that are no images: their types stay, and no view of an image is drawn."""

import numpy as np
import pytest
from text_graphs import model

torch = pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("lightning_fabric", reason="training needs Lightning Fabric")

from reprune_onnx.activations.opened import Wanted, open_for
from reprune_onnx.data.reading import Reading
from reprune_onnx.errors import DataError
from reprune_onnx.in_memory import InMemory
from reprune_onnx.training.augment import Views
from reprune_onnx.training.examples import read_examples

HEAD = '<ir_version: 8, opset_import: ["": 17]> g (INPUTS) => (float[N,6] y) '
BODY = "{ c = Cast <to = 1> (x) y = Flatten (c) }"


def data(inputs, arrays):
    proto = model(HEAD.replace("INPUTS", inputs) + BODY)
    return open_for(proto, Wanted(InMemory("data", arrays), Reading()), {})


@pytest.mark.parametrize(
    ("inputs", "x", "dtype"),
    [
        ("int64[N,6] x", np.arange(24).reshape(4, 6), torch.int64),
        ("int32[N,2,3] x", np.arange(24).reshape(4, 2, 3), torch.int32),
        ("float16[N,6] x", np.ones((4, 6)), torch.float32),
        ("uint8[N,1,2,3] x", np.ones((4, 1, 2, 3), np.uint8), torch.float32),  # an image
    ],
)
def test_types_of_examples(inputs, x, dtype):
    examples = read_examples(data(inputs, x))
    ((batch, y),) = examples.batches([np.arange(4)], 0)
    assert y is None
    assert batch.dtype == dtype
    np.testing.assert_array_equal(batch.numpy(), x)


def test_no_view_of_what_is_no_image():
    features = data("float[N,6] x", np.ones((4, 6), np.float32))
    with pytest.raises(DataError) as error:
        Views.of("flip", features)
    assert " moves images, but the model takes " in str(error.value)
    assert Views.of("none", features).kind == "none"
