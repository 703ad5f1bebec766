"""What the tests of training share: a network that needs it, and few images."""

import json

import numpy as np
import pytest

import reprune_onnx as rp


@pytest.fixture(scope="session")
def small(demo, tmp_path_factory):
    """The demo network, pruned so far that it needs training."""
    path = tmp_path_factory.mktemp("small") / "small.onnx"
    model = rp.prune(rp.load(demo), rp.Settings(sparsity=0.85, recover="data-free"))
    rp.save(model.model, path)
    path.with_suffix(".report.json").write_text(json.dumps(model.report))
    return path


@pytest.fixture(scope="session")
def few(digits, tmp_path_factory):
    """240 images: four steps per epoch."""
    path = tmp_path_factory.mktemp("few") / "few.npz"
    with np.load(digits) as arrays:
        np.savez(path, x=arrays["x_train"][:240], y=arrays["y_train"][:240])
    return path


@pytest.fixture
def images(digits):
    """The training images of the digits, opened for the demo network."""
    how = {"preprocess": "scale=1/16", "input_shape": (None, 1, 8, 8), "dtype": np.float32}
    return rp.data.open_data(str(digits), split="train", **how)
