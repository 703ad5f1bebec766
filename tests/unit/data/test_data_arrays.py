"""Inputs that are no images: any rank and type, several of them, with and without a batch axis.

Every model has an exact oracle: its scores are numpy's, and the labels are what these choose.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.activations.images import calibration_images
from reprune_onnx.activations.opened import Wanted, open_for
from reprune_onnx.data.labels import CLASSES, LabelFormat
from reprune_onnx.data.reading import Reading
from reprune_onnx.deployment.convert import convert
from reprune_onnx.deployment.quantize import output_error
from reprune_onnx.errors import DataError, ModelError
from reprune_onnx.runtime.evaluate import Evaluation, evaluate
from reprune_onnx.settings import Settings
from reprune_onnx.targets import read_target
from reprune_onnx.types import Model

RNG = np.random.default_rng(0)
HEAD = '<ir_version: 8, opset_import: ["": 17]> g ({inputs}) => (float[{n},5] y) '
WEIGHT = RNG.standard_normal((6, 5)).astype(np.float32)
N = 20


def _sums(x: np.ndarray) -> np.ndarray:
    """The scores of samples (n, 6, …): means over what follows the six, times the weight."""
    return x.reshape(len(x), 6, -1).mean(2) @ WEIGHT


MEAN = "c = Cast <to = 1> (x) f = Flatten (c) g = Reshape (f, s) m = ReduceMean <axes = [2],"
MEAN += " keepdims = 0> (g) y = MatMul (m, w)"
KINDS: dict[str, tuple[str, np.ndarray]] = {
    "features": ("float[{n},6] x", RNG.standard_normal((N, 6)).astype(np.float32)),
    "a signal": ("float[{n},6,9] x", RNG.standard_normal((N, 6, 9)).astype(np.float32)),
    "an open signal": ("float[{n},6,l] x", RNG.standard_normal((N, 6, 9)).astype(np.float32)),
    "tokens": ("int64[{n},6] x", RNG.integers(0, 30_000, (N, 6))),
    "short integers": ("int32[{n},6,2] x", RNG.integers(-9, 9, (N, 6, 2), np.int16)),
    "yes and no": ("bool[{n},6,8] x", RNG.random((N, 6, 8)) < 0.5),
    "a volume": ("float[{n},6,2,3,4] x", RNG.standard_normal((N, 6, 2, 3, 4)).astype(np.float64)),
    "twelve bands": ("float[{n},12,4,4] x", RNG.standard_normal((N, 12, 4, 4)).astype(np.float32)),
    "open bands": ("float[{n},c,h,w] x", RNG.standard_normal((N, 12, 4, 6)).astype(np.float32)),
    "whole numbers of rank 4": ("int64[{n},6,4,4] x", RNG.integers(0, 99, (N, 6, 4, 4))),
    "bytes as they are": ("float[{n},6] x", RNG.integers(0, 255, (N, 6), np.uint8)),
    "six of rank 6": ("float[{n},6,1,2,1,2] x", RNG.standard_normal((N, 6, 1, 2, 1, 2))),
}


def network(inputs: str, n: str = "N", body: str = MEAN) -> onnx.ModelProto:
    text = HEAD.format(inputs=inputs.format(n=n), n=n) + "{" + body + "}"
    return model(text, w=WEIGHT, s=np.array([0, 6, -1]))


def saved(folder: Path, suffix: str = "npz", **arrays: np.ndarray) -> str:
    path = folder / f"data.{suffix}"
    if suffix == "npy":
        np.save(path, *arrays.values())
    else:
        np.savez(path, **arrays)
    return str(path)


def opened(proto: onnx.ModelProto, data: Any, labels: LabelFormat = CLASSES, **how: Any) -> Any:
    return open_for(proto, Wanted(data, Reading(**how), labels), {})


def measured(proto: onnx.ModelProto, data: Any, against: Model | None = None) -> Evaluation:
    labels = CLASSES if against is None else CLASSES.where_they_fit()
    return evaluate(Model(proto), opened(proto, data, labels), against=against)


def calibrated(proto: onnx.ModelProto, data: Any, size: int = 512) -> Any:
    return calibration_images(
        proto, Settings(sparsity=0.5, calibration=data, calibration_size=size)
    )


def refused(proto: onnx.ModelProto, data: Any, *words: str, **how: Any) -> None:
    with pytest.raises(DataError) as error:
        list(opened(proto, data, **how))
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value), str(error.value)


@pytest.mark.parametrize("n", ["N", "1", "3"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_measured(tmp_path, kind, n):
    inputs, x = KINDS[kind]
    proto = network(inputs, n)
    right = _sums(x).argmax(1)
    data = saved(tmp_path, x=x, y=right)
    assert measured(proto, data).top1 == 100
    wrong = np.where(np.arange(N) % 4 == 0, (right + 1) % 5, right)  # the control
    assert measured(proto, saved(tmp_path, x=x, y=wrong)).top1 == 75
    assert measured(proto, saved(tmp_path, x=x), Model(proto)).agreement == 100


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_calibrates_in_the_type_of_the_input(tmp_path, kind):
    inputs, x = KINDS[kind]
    proto = network(inputs, "2")
    images = calibrated(proto, saved(tmp_path, "npy", x=x))
    assert images.n == N
    (first, *_) = images.batches
    assert first["x"].shape == (2, *x.shape[1:])
    kept = np.concatenate([batch["x"] for batch in images.batches])
    np.testing.assert_array_equal(kept, x.astype(kept.dtype))
    (note,) = images.notes
    assert f"{N} " in note
    assert f"{x.shape[1:]} {x.dtype}" in note
    assert calibrated(proto, saved(tmp_path, "npy", x=x), 8).n == 8


@pytest.mark.parametrize("kind", ["features", "a signal", "tokens", "a volume"])
def test_ranges_for_int8_are_measured_on_arrays(tmp_path, kind):
    inputs, x = KINDS[kind]
    proto = network(inputs)
    images = calibrated(proto, saved(tmp_path, "npy", x=x))
    made = convert(Model(proto), read_target("cpu"), "int8", images=images)
    assert "QuantizeLinear" in {node.op_type for node in made.model.proto.graph.node}
    assert 0 < made.error < 0.05
    low = calibrated(proto, saved(tmp_path, "npy", x=(x / 100).astype(x.dtype)))  # the control
    narrow = convert(Model(proto), read_target("cpu"), "int8", images=low).model.proto
    assert output_error(proto, narrow, images, "onnxruntime") > 0.5


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "open bands"])
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_one_sample_without_the_axis_of_the_batch(tmp_path, kind, suffix):
    inputs, x = KINDS[kind]
    proto = network(inputs)
    given = opened(proto, saved(tmp_path, suffix, some=x[3]))
    ((batch, y),) = given
    assert y is None
    np.testing.assert_array_equal(batch, x[3:4].astype(batch.dtype))
    assert "1 " in given.notes[0]
    assert "taken as one for the lack of the axis of the batch" in given.notes[0]
    right = _sums(x).argmax(1)[3]
    assert measured(proto, saved(tmp_path, x=x[3], y=right)).top1 == 100


def test_any_name_where_there_is_one_array(tmp_path):
    proto = network("float[N,6] x")
    x = KINDS["features"][1]
    assert len(opened(proto, saved(tmp_path, measurements=x))) == N
    assert len(opened(proto, saved(tmp_path, m=x, more=np.zeros(3)))) == N  # the one that fits
    both = saved(tmp_path, a=x, b=x[:7])
    assert len(opened(proto, f"{both}:b")) == 7
    refused(proto, both, "2 arrays may be", "a, b", "as in data.npz:a")
    open_width = network("float[N,k] x")
    right = _sums(x).argmax(1)
    assert measured(open_width, saved(tmp_path, some=x, y=right)).top1 == 100


def test_an_array_called_like_the_input_is_it(tmp_path):
    proto = network("float[N,6] x")
    proto.graph.input[0].name = proto.graph.node[0].input[0] = "signal"
    x = KINDS["features"][1]
    data = opened(proto, saved(tmp_path, other=x + 1, signal=x))
    np.testing.assert_array_equal(next(iter(data))[0], x)


TWO = "float[{n},6] a, int64[{n},6,3] b"
ADDED = "c = Cast <to = 1> (b) m = ReduceMean <axes = [2], keepdims = 0> (c) t = Add (a, m)"
ADDED += " y = MatMul (t, w)"
A = RNG.standard_normal((N, 6)).astype(np.float32)
B = RNG.integers(-3, 3, (N, 6, 3))
SUM = (A + B.mean(2)) @ WEIGHT


@pytest.mark.parametrize("n", ["N", "1", "3"])
@pytest.mark.parametrize("labels", ["y", "answers"])
def test_several_inputs_are_measured(tmp_path, n, labels):
    proto = network(TWO, n, ADDED)
    right = SUM.argmax(1)
    data = saved(tmp_path, a=A, b=B, **{labels: right})
    assert measured(proto, data).top1 == 100
    assert measured(proto, saved(tmp_path, a=A, b=-B, **{labels: right})).top1 < 100  # the control
    assert measured(proto, saved(tmp_path, a=A, b=B), Model(proto)).agreement == 100
    other = saved(tmp_path, a=A, b=B, y=np.zeros(N, int), **{"z": right})
    assert measured(proto, f"{other}:,z").top1 == 100
    assert calibrated(proto, other).n == N // int(n.replace("N", "1")) * int(n.replace("N", "1"))


LIKE = "name each array like its input"


def test_names_and_lengths_that_are_wrong(tmp_path):
    proto = network(TWO, body=ADDED)
    inputs = "'a' (N, 6) float32, 'b' (N, 6, 3) int64"
    refused(proto, saved(tmp_path, a=A, c=B), "no array 'b'", inputs, "c (20, 6, 3) int64", LIKE)
    refused(proto, saved(tmp_path, a=A, b=B[:7]), "different numbers", "b (7, 6, 3) int64")
    refused(proto, saved(tmp_path, a=A, b=B[:, :2]), "data.npz:b", "(20, 2, 3)", "(N, 6, 3) int64")
    refused(proto, saved(tmp_path, "npy", a=A), "one array", inputs)
    refused(proto, saved(tmp_path, a=A, b=B) + ":a", "data.npz:a is one array", inputs)
    surplus = {"a": A, "b": B, "p": A, "q": SUM.argmax(1)}
    refused(
        proto,
        saved(tmp_path, **surplus),
        "arrays beside the inputs may be the labels",
        "p, q",
        "as in data.npz:,p",
    )
    note = opened(proto, saved(tmp_path, **surplus), CLASSES.where_they_fit()).notes[0]
    assert "20 samples of 'a' (6,) float32, 'b' (6, 3) int64" in note
    assert "not read: p (20, 6) float32, q (20,) int64" in note
    empty = np.zeros((0, 6), np.float32)
    refused(proto, saved(tmp_path, a=empty, b=B[:0]), "holds no samples")


def test_fewer_samples_than_a_batch(tmp_path):
    proto = network("float[{n},6] x", "32")
    with pytest.raises(DataError) as error:
        calibrated(proto, saved(tmp_path, x=A))
    assert "has fewer images than the model's batch of " in str(error.value)
    assert measured(proto, saved(tmp_path, x=A, y=_sums(A).argmax(1))).top1 == 100


def test_what_does_not_go_in(tmp_path):
    features, tokens = network("float[N,6] x"), network("int32[N,6] x")
    x, t = KINDS["features"][1], KINDS["tokens"][1]
    refused(
        features, saved(tmp_path, x=x[:, :5]), "(20, 5)", "'x' (N, 6) float32", "a row for each"
    )
    refused(features, saved(tmp_path, z=x[:, :5], q=x[0, :3]), "no array that the model's input")
    refused(features, saved(tmp_path, x=x.astype(str)), "an array of type <U", "give numbers")
    for value in (np.nan, np.inf):
        spoiled = x.copy()
        spoiled[7, 2] = value
        data = saved(tmp_path, x=spoiled)
        refused(features, data, "data.npz:x[7]", "NaN or infinite values for input 'x'")
    half = t.astype(float)
    half[4, 1] = 0.5
    refused(tokens, saved(tmp_path, x=half), "data.npz:x[4]", "0.5", "int32", "does not have it")
    refused(tokens, saved(tmp_path, x=t + 2**40), "data.npz:x[0]", "int32")
    assert len(list(opened(tokens, saved(tmp_path, x=t.astype(float))))) == 1  # the control
    yes = network("bool[N,6] x")
    refused(yes, saved(tmp_path, x=t), "bool")


def test_preprocess_is_of_images(tmp_path):
    proto, data = network("float[N,6,9] x"), saved(tmp_path, x=KINDS["a signal"][1])
    words = "--preprocess imagenet is of images", "'x' (N, 6, 9) float32"
    refused(proto, data, *words, preprocess="imagenet")
    refused(proto, data, "whose values go in as they are", preprocess="scale=1/255")
    assert str(opened(proto, data, preprocess="none").preprocess) == "none"
    assert str(opened(proto, data).preprocess) == "none"


def test_folders_hold_images(tmp_path):
    refused(network("float[N,6] x"), str(tmp_path), "holds images, but the model takes 'x' (N, 6)")


def test_an_input_without_a_stated_shape(tmp_path):
    proto = network("float[N,6] x")
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    data = saved(tmp_path, x=KINDS["features"][1])
    refused(proto, data, "the file states no shape of input", "'x'", "--input-shape x=")
    given = open_for(proto, Wanted(data, Reading()), {"x": (1, 6)})
    assert len(given) == N


def test_a_model_without_inputs(tmp_path):
    proto = model(
        HEAD.format(inputs="", n="1") + "{ y = MatMul (s, w) }", w=WEIGHT, s=np.ones((1, 6))
    )
    refused(proto, saved(tmp_path, x=A), "so no data goes into it")


def test_arrays_from_python():
    x, right = KINDS["a signal"][1], _sums(KINDS["a signal"][1]).argmax(1)
    proto = network("float[N,6,9] x")
    assert rp.evaluate(proto, {"x": x, "y": right}).top1 == 100
    assert rp.evaluate(proto, (x, right)).top1 == 100
    assert rp.evaluate(proto, x, against=proto).agreement == 100
    assert rp.evaluate(proto, [(x[:9], right[:9]), (x[9], right[9])]).n == 10
    assert calibrated(proto, x).n == N
    assert calibrated(proto, list(x)).n == N
    assert calibrated(proto, x).notes == ("calibration: 20 samples of (6, 9) float32",)
    two = network(TWO, body=ADDED)
    assert rp.evaluate(two, {"a": A, "b": B, "label": SUM.argmax(1)}).top1 == 100
    batch = {"a": A, "b": B}
    assert rp.evaluate(two, [(batch, SUM.argmax(1)), (batch, SUM.argmax(1))]).n == 2 * N
    assert calibrated(two, batch).n == N
    assert calibrated(two, [{"a": a, "b": b} for a, b in zip(A, B, strict=True)]).n == N
    for data in (A, [A], [{"a": A}]):
        with pytest.raises(DataError, match=r"but the model|the model has 2 inputs"):
            calibrated(two, data)


def test_a_loader_yields_what_the_inputs_take(tmp_path, monkeypatch):
    (tmp_path / "own_arrays.py").write_text(
        "import numpy as np\n"
        "A, B = np.ones((4, 6)), np.ones((4, 6, 3), int)\n"
        "def both(): yield {'a': A, 'b': B}, np.zeros(4, int)\n"
        "def one(): yield A\n"
        "def other(): yield {'a': A, 'c': B}\n"
        "def unequal(): yield {'a': A, 'b': B[:3]}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    two, one = network(TWO, body=ADDED), network("float[N,6] x")
    ((x, y),) = opened(two, "own_arrays:both")
    assert (x["a"].shape, x["b"].dtype, len(y)) == ((4, 6), np.int64, 4)
    assert next(iter(opened(one, "own_arrays:one")))[0].shape == (4, 6)
    refused(two, "own_arrays:one", "one array, but the model takes 'a'", "named like it")
    refused(two, "own_arrays:other", "arrays a, c, but the model takes 'a'")
    refused(two, "own_arrays:unequal", "arrays of shapes (4, 6), (3, 6, 3)", "a row per sample")
    images = model(
        '<ir_version: 8, opset_import: ["": 17]> g (float[N,3,4,4] x) => (float[N,3,4,4] y)'
        " { y = Relu (x) }"
    )
    refused(images, "own_arrays:both", "but the model takes images", "give them as one array")


def test_an_original_of_other_inputs():
    one, two = network("float[N,6] x"), network(TWO, body=ADDED)
    with pytest.raises(DataError) as error:
        evaluate(one, A, against=two)
    assert "one array (20, 6) for the original, whose inputs are 'a' (N, 6)" in str(error.value)
    assert "; give an array for each of them" in str(error.value)


def test_a_text_input_has_no_numbers():
    proto = network("string[N,6] x")
    with pytest.raises(ModelError, match="has a type that numpy does not have"):
        opened(proto, A)
