"""Evaluation and calibration data that do not fit the model."""

from pathlib import Path

import numpy as np
import pytest
from altered_models import HALF, SIXTEENTHS, write


def saved(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


DATA = {
    "of another size": {"x": np.zeros((4, 1, 9, 9), np.uint8), "y": np.zeros(4, np.int64)},
    "of other channels": {"x": np.zeros((4, 2, 8, 8), np.uint8), "y": np.zeros(4, np.int64)},
    "of rank 2": {"x": np.zeros((4, 64), np.uint8), "y": np.zeros(4, np.int64)},
    "without images": {"x": np.zeros((0, 1, 8, 8), np.uint8), "y": np.zeros(0, np.int64)},
    "of 64-bit integers": {"x": np.zeros((4, 1, 8, 8), np.int64), "y": np.zeros(4, np.int64)},
    "with NaN": {"x": np.full((4, 1, 8, 8), np.nan, np.float32), "y": np.zeros(4, np.int64)},
    "labels out of range": {"x": np.zeros((4, 1, 8, 8), np.uint8), "y": np.array([0, 1, 2, 10])},
    "labels below 0": {"x": np.zeros((4, 1, 8, 8), np.uint8), "y": np.array([0, 1, 2, -1])},
    "too few labels": {"x": np.zeros((4, 1, 8, 8), np.uint8), "y": np.array([0, 1])},
    "labels that are words": {"x": np.zeros((4, 1, 8, 8), np.uint8), "y": np.array(list("abcd"))},
    "no labels": {"x": np.zeros((4, 1, 8, 8), np.uint8)},
    "no arrays of images": {"a": np.zeros(3), "b": np.zeros(3)},
    "objects": {"x": np.array([None, {}], dtype=object), "y": np.zeros(2, np.int64)},
}


@pytest.mark.parametrize("kind", DATA)
def test_data_that_does_not_fit(refuses, model, tmp_path, kind):
    data = saved(tmp_path / "data.npz", **DATA[kind])
    refuses("evaluate", model, "--data", data, says=("data.npz",))


@pytest.mark.parametrize("spec", ["none.npz", "none", "none.module:function", "json:nothing", ""])
def test_data_that_does_not_exist(refuses, model, spec):
    refuses("evaluate", model, "--data", spec)


def test_data_that_is_no_data(refuses, model, tmp_path):
    (tmp_path / "data.npz").write_bytes(b"not a zip")
    refuses("evaluate", model, "--data", tmp_path / "data.npz", says=("data.npz",))
    (tmp_path / "empty").mkdir()
    refuses("evaluate", model, "--data", tmp_path / "empty", says=("empty",))
    refuses("evaluate", model, "--data", model, says=("model.onnx",))


def test_an_array_of_the_data_is_misspelt(refuses, model, digits):
    line = refuses("evaluate", model, "--data", f"{digits}:x_tset,y")
    assert "x_tset" in line
    refuses("evaluate", model, "--data", f"{digits}:x,y_trian", says=("did you mean 'y_train'",))


@pytest.mark.parametrize("spec", ["cifar11", "mean=a;std=1", "mean=0,0,0,0,0", "speed=5", "std=0"])
def test_a_preprocess_that_is_none(refuses, call, model, digits, spec):
    result = call("evaluate", model, "--data", digits, "--preprocess", spec)
    assert result.code in (1, 2)
    refuses("evaluate", model, "--data", digits, "--preprocess", spec, code=result.code)


def test_the_original_to_compare_with_is_another_kind_of_model(refuses, model, digits, tmp_path):
    other = write(
        tmp_path / "other.onnx",
        """g (float[N,1,8,8] x, float[7,1,8,8] W) => (float[N,7] y) {
        a = Conv(x, W)
        y = Flatten(a)}""",
    )
    refuses("evaluate", model, "--data", digits, *SIXTEENTHS, "--against", other, says=("10", "7"))


def test_a_model_that_is_no_classifier(refuses, digits, tmp_path):
    other = write(
        tmp_path / "other.onnx",
        "g (float[N,1,8,8] x, float[7,1,3,3] W) => (float[N,7,6,6] y) {y = Conv(x, W)}",
    )
    refuses("evaluate", other, "--data", digits, says=("other.onnx",))


def test_a_model_of_two_inputs(refuses, digits, tmp_path):
    other = write(
        tmp_path / "other.onnx",
        """g (float[N,1,8,8] x, float[N,7] b, float[7,1,8,8] W) => (float[N,7] y) {
        a = Conv(x, W)
        c = Flatten(a)
        y = Add(c, b)}""",
    )
    refuses("evaluate", other, "--data", digits, says=("2 inputs", "'b' (N, 7) float32"))


@pytest.mark.parametrize("kind", ["missing", "of another size", "of rank 2"])
def test_calibration_data_that_does_not_fit(refuses, model, tmp_path, kind):
    path = tmp_path / "data.npz"
    if kind != "missing":
        saved(path, **DATA[kind])
    refuses("prune", model, "--sparsity", "0.5", "--calibration", path, says=("data.npz",))


def test_calibration_data_is_looked_at_even_where_every_layer_has_its_gamma(refuses, tmp_path):
    path = write(
        tmp_path / "m.onnx",
        """g (float[1,3,8,8] x, float[6,3,3,3] W1, float[6] W2, float[6] W3, float[6] W4,
        float[2,6,3,3] W6, float[2] W7) => (float[1,2,4,4] y) <float[6] v = {1,1,1,1,1,1},
        float[2] u = {1,1}> {
        a = Conv(x, W1)
        b = BatchNormalization(a, W2, W3, W4, v)
        c = Conv(b, W6)
        y = BatchNormalization(c, W7, W7, W7, u)}""",
    )
    refuses("prune", path, *HALF, "--calibration", tmp_path / "none.npz", says=("none.npz",))
