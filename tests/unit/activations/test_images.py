"""Calibration images: what is refused, in one line, and how the batches are cut."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from text_graphs import model

from reprune_onnx.activations.images import HELD_OUT, Images, calibration_images
from reprune_onnx.errors import DataError
from reprune_onnx.settings import Settings

ONE = """<ir_version: 8, opset_import: ["": 17]>
g (float[N,3,8,8] x) => (float[N,3,8,8] y) { y = Relu (x) }"""
TWO = """<ir_version: 8, opset_import: ["": 17]>
g (float[N,3,8,8] left, LEFT right) => (float[N,3,8,8] y) {
  c = Cast <to = 1> (right)
  y = Add (left, c)
}"""


def one(batch: str = "n") -> onnx.ModelProto:
    return model(ONE.replace("N", batch))


def two(batch: str = "n", right: str = "float[N,3,8,8]") -> onnx.ModelProto:
    return model(TWO.replace("LEFT", right).replace("N", batch))


def normal(n: int, *shape: int, seed: int = 0) -> np.ndarray:
    shape = shape or (3, 8, 8)
    return np.random.default_rng(seed).standard_normal((n, *shape)).astype(np.float32)


@pytest.fixture
def given(tmp_path: Path) -> Any:
    """The calibration images of a model, from a .npz of these arrays."""

    def given(proto: onnx.ModelProto, size: int = 512, **arrays: np.ndarray) -> Images:
        path = tmp_path / "images.npz"
        np.savez(path, **arrays)
        settings = Settings(sparsity=0.5, calibration=str(path), calibration_size=size)
        return calibration_images(proto, settings)

    return given


@pytest.mark.parametrize("n", [48, 150, 176, 177, 200])
@pytest.mark.parametrize("size", [1, 7, 16])
def test_never_less_than_a_third_is_held_out(n: int, size: int) -> None:
    """150 images hold 50 back, as the message of --max-drop promises: 48 were held of 176."""
    parts = [normal(min(size, n - k), seed=k) for k in range(0, n, size)]
    fit, held = Images("images", tuple({"x": part} for part in parts), n).split()
    assert held.n * HELD_OUT >= n
    assert fit.n + held.n == n
    assert fit.n >= n / 2


def sizes(images: Images) -> list[int]:
    return [len(next(iter(batch.values()))) for batch in images.batches]


@pytest.mark.parametrize(
    ("n", "expected"),
    [(200, [16] * 12 + [8]), (64, [8] * 8), (20, [2] * 10), (8, [1] * 8), (3, [1] * 3)],
)
def test_a_batch_that_the_model_leaves_open(given: Any, n: int, expected: list[int]) -> None:
    x = normal(n)
    images = given(one(), x=x)
    assert sizes(images) == expected
    assert images.n == n
    np.testing.assert_array_equal(np.concatenate([b["x"] for b in images.batches]), x)
    assert sizes(given(two(), left=x, right=x)) == expected


@pytest.mark.parametrize(("n", "count"), [(20, 5), (23, 5), (4, 1)])
def test_a_static_batch_leaves_the_last_images_out(given: Any, n: int, count: int) -> None:
    x = normal(n)
    images = given(one("4"), x=x)
    assert sizes(images) == [4] * count
    assert images.n == 4 * count
    np.testing.assert_array_equal(np.concatenate([b["x"] for b in images.batches]), x[: 4 * count])
    both = given(two("4"), left=x, right=2 * x)
    assert sizes(both) == [4] * count
    np.testing.assert_array_equal(both.batches[0]["right"], 2 * both.batches[0]["left"])


@pytest.mark.parametrize("proto", [one("4"), two("4")], ids=["one input", "two inputs"])
def test_fewer_images_than_one_batch(given: Any, proto: onnx.ModelProto) -> None:
    x = normal(3)
    arrays = {"x": x} if len(proto.graph.input) == 1 else {"left": x, "right": x}
    with pytest.raises(DataError, match="fewer images than the model's batch of 4"):
        given(proto, **arrays)


def test_no_more_images_than_asked_for(given: Any) -> None:
    assert given(one(), 24, x=normal(100)).n == 24
    assert given(two(), 24, left=normal(100), right=normal(100)).n == 24


def test_training_images_are_taken_where_there_are_both(given: Any) -> None:
    x = normal(16)
    images = given(one(), x_train=x, x_test=np.zeros_like(x))
    np.testing.assert_array_equal(images.batches[0]["x"], x[:2])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(given: Any, value: float) -> None:
    x = normal(64)
    x[37, 1, 2, 3] = value
    with pytest.raises(DataError, match=r"images\.npz:x\[37\]: NaN or infinite values"):
        given(one(), x=x)
    message = r"images\.npz\[37\]: NaN or infinite values for input 'right' \(N, 3, 8, 8\) float32"
    with pytest.raises(DataError, match=message):
        given(two(), left=normal(64), right=x)


def test_another_size_of_image(given: Any) -> None:
    with pytest.raises(DataError, match=r"images\.npz") as error:
        given(one(), x=normal(16, 3, 9, 8))
    assert "9" in str(error.value)
    assert "8" in str(error.value)


def test_another_number_of_channels(given: Any) -> None:
    with pytest.raises(DataError, match=r"images\.npz"):
        given(one(), x=normal(16, 5, 8, 8))


def test_too_few_images(given: Any) -> None:
    for n in (1, 7):
        images = given(one(), x=normal(n))
        with pytest.raises(DataError, match=f"{n} images of .*: at least 8"):
            images.check()
    given(one(), x=normal(8)).check()
    with pytest.raises(DataError, match="two batches"):
        given(one("8"), x=normal(15)).check()
    given(one("8"), x=normal(16)).check()


def test_images_that_are_all_equal(given: Any) -> None:
    x = np.repeat(normal(1), 32, axis=0)
    with pytest.raises(DataError, match="all images are equal"):
        given(one(), x=x).check()
    x[-1, 0, 0, 0] += 1
    given(one(), x=x).check()


def test_one_input_may_be_the_same_for_all_images(given: Any) -> None:
    same = np.ones((32, 3, 8, 8), np.float32)
    given(two(), left=normal(32), right=same).check()
    with pytest.raises(DataError, match="all images are equal"):
        given(two(), left=same, right=same).check()


def test_two_inputs_take_arrays_of_their_names_and_types(given: Any) -> None:
    right = np.arange(20, dtype=np.float64)[:, None, None, None] * np.ones((1, 3, 8, 8))
    images = given(two(right="int64[N,3,8,8]"), left=normal(20).astype(np.float64), right=right)
    first = images.batches[1]
    assert (first["left"].dtype, first["right"].dtype) == (np.float32, np.int64)
    assert first["right"][:, 0, 0, 0].tolist() == [2, 3]


def test_an_array_that_is_missing(given: Any) -> None:
    with pytest.raises(DataError, match="no array 'right'"):
        given(two(), left=normal(20), rihgt=normal(20))


def test_arrays_of_unequal_lengths(given: Any) -> None:
    message = r"left \(20, .* float32, right \(19, 3, 8, 8\) float32; give equally many"
    with pytest.raises(DataError, match=message):
        given(two(), left=normal(20), right=normal(19))


@pytest.mark.parametrize("shape", [(), (20,), (20, 3, 8), (20, 3, 8, 9)], ids=str)
def test_an_array_of_another_shape(given: Any, shape: tuple[int, ...]) -> None:
    message = r":right: an array of shape \(.*\), but the model takes 'right' \(N, 3, 8, 8\)"
    with pytest.raises(DataError, match=message):
        given(two(), left=normal(20), right=np.zeros(shape, np.float32))


def test_two_inputs_take_nothing_but_a_npz(tmp_path: Path) -> None:
    settings = Settings(sparsity=0.5, calibration=str(tmp_path))
    message = r"holds images, but the model takes 'left' \(N, 3, 8, 8\) float32, 'right'"
    with pytest.raises(DataError, match=message):
        calibration_images(two(), settings)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    settings = Settings(sparsity=0.5, calibration=str(tmp_path / "none.npz"))
    for proto in (one(), two()):
        with pytest.raises(DataError, match=r"none\.npz"):
            calibration_images(proto, settings)


def test_a_model_in_half_precision_takes_half_precision(given: Any) -> None:
    proto = model(ONE.replace("N", "n").replace("float[", "float16["))
    assert given(proto, x=normal(16)).batches[0]["x"].dtype == np.float16


@pytest.mark.parametrize("kind", ["double", "bfloat16"])
def test_a_model_that_is_run_in_single_precision(given: Any, kind: str) -> None:
    proto = model(ONE.replace("N", "n").replace("float[", f"{kind}["))
    assert given(proto, x=normal(16)).batches[0]["x"].dtype == np.float32


def test_the_first_images_of_shuffled_ones_are_a_fair_sample_of_sorted_data(given: Any) -> None:
    classes = np.repeat(np.arange(10), 33)
    x = np.broadcast_to(classes[:, None, None, None], (330, 3, 8, 8)).astype(np.float32)
    images = given(one(), x=x, y=classes)
    assert set(images.batches[0]["x"].ravel().tolist()) == {0.0}, "the control: they are sorted"
    mixed = images.shuffled(np.random.default_rng(0))
    assert sizes(mixed) == sizes(images)
    assert len(set(mixed.batches[0]["x"].ravel().tolist())) >= 5
    assert mixed.labels is not None
    for batch, labels in zip(mixed.batches, mixed.labels, strict=True):
        np.testing.assert_array_equal(batch["x"][:, 0, 0, 0], labels)
    everything = np.concatenate([b["x"][:, 0, 0, 0] for b in mixed.batches])
    np.testing.assert_array_equal(np.sort(everything), classes)


def test_rows_of_several_inputs_stay_together_when_shuffled(given: Any) -> None:
    left = np.broadcast_to(np.arange(40)[:, None, None, None], (40, 3, 8, 8)).astype(np.float32)
    mixed = given(two(), left=left, right=2 * left).shuffled(np.random.default_rng(0))
    assert mixed.batches[0]["left"][:, 0, 0, 0].tolist() != list(range(5))
    for batch in mixed.batches:
        np.testing.assert_array_equal(batch["right"], 2 * batch["left"])
