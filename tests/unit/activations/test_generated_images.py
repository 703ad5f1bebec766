"""Generated images for a model: what is asked for, of its size, in the range that it takes."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from folded_norms import FOLDED, folded
from text_graphs import model

from reprune_onnx.activations.generated.make import Made, make
from reprune_onnx.activations.images import calibration_images
from reprune_onnx.data.generated import Recipe, generate
from reprune_onnx.data.generated.spec import GeneratedSpec, is_generated, parse_generated
from reprune_onnx.data.open import open_data
from reprune_onnx.data.preprocess import Preprocess, parse_preprocess
from reprune_onnx.errors import DataError, UsageError
from reprune_onnx.runtime.ort import Session
from reprune_onnx.settings import Settings
from reprune_onnx.types import Model

NORMED = """<ir_version: 8, opset_import: ["": 17]>
g (float[n,C,S] x) => (float[n,4,Q] y) {
  a = Conv (x, w)
  y = BatchNormalization (a, gamma, beta, mean, var)
}"""
PLAIN = """<ir_version: 8, opset_import: ["": 17]>
g (TYPE[SHAPE] x) => (TYPE[SHAPE] y) { y = Identity (x) }"""
USUAL = (
    "scale=1/255",
    "none",
    "scale=1/255;mean=0.5;std=0.5",
    "cifar10",
    "scale=1.0;mean=123.0,117.0,104.0",
)


def bare_network(shape: str, kind: str = "float") -> onnx.ModelProto:
    return model(PLAIN.replace("TYPE", kind).replace("SHAPE", shape))


def made(proto: onnx.ModelProto, spec: str = "generated:8", **options: Any) -> Made:
    return make(Model(proto), Settings(sparsity=0.5, calibration=spec, **options))


def others(channels: int, space: tuple[int, ...], how: str, n: int = 24) -> np.ndarray:
    """Images of another seed, as a network is fed in training, by the definition."""
    x = np.stack(list(generate(Recipe(channels, space, seed=99), n))).astype(np.float64)
    p = parse_preprocess(how)
    broad = (1, -1, *[1] * len(space))
    mean, std = (np.array(v or d).reshape(broad) for v, d in ((p.mean, 0), (p.std, 1)))
    return ((x * (p.scale or 1.0) - mean) / std).astype(np.float32)


def trained_on(x: np.ndarray) -> onnx.ModelProto:
    """A Conv and a BatchNormalization whose statistics are those of ``x``."""
    channels, space = x.shape[1], x.shape[2:]
    text = NORMED.replace("C,", f"{channels},").replace("S]", ",".join(map(str, space)) + "]")
    text = text.replace("Q]", ",".join("?" for _ in space) + "]")
    w = np.random.default_rng(1).normal(0, 1, (4, channels, *[3] * len(space))).astype(np.float32)
    w += 0.3
    one = np.ones(4)
    first = model(text, w=w, gamma=one, beta=0 * one, mean=0 * one, var=one)
    first.graph.output[0].CopyFrom(onnx.ValueInfoProto(name="a"))
    del first.graph.node[1]
    a = Session(first, optimize=False).run({"x": x})["a"]
    axes = (0, *range(2, a.ndim))
    return model(text, w=w, gamma=one, beta=0 * one, mean=a.mean(axis=axes), var=a.var(axis=axes))


@pytest.mark.parametrize("truth", USUAL)
def test_statistics_tell_the_range(truth: str) -> None:
    chosen_range = made(trained_on(others(3, (12, 12), truth)), "generated:24").generated.range
    assert (str(chosen_range.preprocess), chosen_range.by) == (truth, "statistics")
    assert "BatchNormalization" in chosen_range.evidence and "misfit" in chosen_range.evidence


@pytest.mark.parametrize("truth", USUAL[:3])
@pytest.mark.parametrize("space", [(60,), (6, 6, 6)])
def test_of_signals_and_volumes_too(truth: str, space: tuple[int, ...]) -> None:
    chosen_range = made(trained_on(others(1, space, truth)), "generated:16").generated.range
    assert str(chosen_range.preprocess) == truth


def test_a_range_that_is_given_wins() -> None:
    images = made(bare_network("n,3,12,12"), preprocess="imagenet")
    assert images.generated.range.by == "given"
    expected = others(3, (12, 12), "cifar10", 1)
    assert images.fed(0, 1).shape == expected.shape
    alone = np.stack(list(generate(Recipe(3, (12, 12)), 2))).astype(np.float64) / 255
    broad = (1, 3, 1, 1)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    wanted = (alone - mean.reshape(broad)) / std.reshape(broad)
    np.testing.assert_allclose(images.fed(0, 2), wanted, rtol=1e-4, atol=1e-5)


CLASSIFIER = """<ir_version: 8, opset_import: ["": 17]>
g (float[n,1,8,8] x) => (float[n,3] y) {
  a = Flatten (x)
  y = Gemm (a, w, c)
}"""


def by_brightness(white: float) -> onnx.ModelProto:
    """Says dark, middle or bright of images of 0 to ``white``; it has no statistics."""
    w = np.full((64, 3), 1 / 64) * np.array([-30.0, 0.0, 30.0]) / white
    return model(CLASSIFIER, w=w, c=np.array([12.0, 0.0, -17.0]))


@pytest.mark.parametrize(("white", "truth"), [(1.0, "scale=1/255"), (255.0, "none")])
def test_answers_tell_the_range_of_a_classifier_without_statistics(
    white: float, truth: str
) -> None:
    chosen_range = made(by_brightness(white), "generated:32").generated.range
    assert (str(chosen_range.preprocess), chosen_range.by) == (truth, "answers")


def test_where_nothing_tells_it_is_said() -> None:
    chosen_range = made(bare_network("n,3,8,8")).generated.range
    assert (chosen_range.preprocess, chosen_range.by) == (Preprocess(scale=1 / 255), "nothing")
    assert "assumed" in chosen_range.evidence


@pytest.mark.parametrize(
    ("shape", "kind", "expected"),
    [
        ("n,1,9,7", "float", (8, 1, 9, 7)),
        ("n,9,7,3", "float", (8, 9, 7, 3)),
        ("n,h,w,3", "float", (8, 224, 224, 3)),
        ("n,2,50", "float", (8, 2, 50)),
        ("n,50,2", "float", (8, 50, 2)),
        ("n,1,4,5,6", "float", (8, 1, 4, 5, 6)),
        ("n,3,6,6", "uint8", (8, 3, 6, 6)),
        ("n,3,6,6", "double", (8, 3, 6, 6)),
    ],
)
def test_sizes_and_types(shape: str, kind: str, expected: tuple[int, ...]) -> None:
    proto = bare_network(shape, kind)
    images = calibration_images(proto, Settings(sparsity=0.5, calibration="generated:8"))
    x = np.concatenate([batch["x"] for batch in images.batches])
    assert x.shape == expected
    top = 255 if kind == "uint8" else 1
    assert x.min() >= 0 and 0.5 * top < x.max() <= top


def test_channels_last_holds_the_same_images() -> None:
    first, last = made(bare_network("n,3,9,7")), made(bare_network("n,9,7,3"))
    np.testing.assert_array_equal(first.fed(0, 8), np.moveaxis(last.fed(0, 8), -1, 1))


def test_a_static_batch_is_filled() -> None:
    settings = Settings(sparsity=0.5, calibration="generated:23")
    images = calibration_images(bare_network("4,3,6,6"), settings)
    assert images.n == 20 and [len(b["x"]) for b in images.batches] == [4] * 5
    assert images.generated is not None and images.generated.n == 20


def test_the_seed_and_the_number_count() -> None:
    proto = bare_network("n,3,8,8")
    assert made(proto, "generated", calibration_size=9).generated.n == 9
    assert made(proto, "generated:5", calibration_size=9).generated.n == 5
    same, other = made(proto, seed=1).fed(0, 8), made(proto, seed=2).fed(0, 8)
    np.testing.assert_array_equal(made(proto, seed=1).fed(0, 8), same)
    assert not np.array_equal(same, other)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("generated", GeneratedSpec()),
        ("generated:20", GeneratedSpec(20)),
        ("generated:noise", GeneratedSpec(None, ("noise",))),
        ("generated:leaves+noise:20", GeneratedSpec(20, ("leaves", "noise"))),
        ("generated:refined", GeneratedSpec(refined=True)),
        ("generated:refined:20", GeneratedSpec(20, refined=True)),
        ("generated:noise:20:refined", GeneratedSpec(20, ("noise",), True)),
    ],
)
def test_what_is_asked_for(spec: str, expected: GeneratedSpec) -> None:
    assert is_generated(spec) and parse_generated(spec) == expected
    assert not is_generated("./" + spec) and not is_generated("x" + spec)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("generated:0", "at least 1"),
        ("generated:-3", "neither a number"),
        ("generated:leafs", "did you mean 'leaves'"),
        ("generated:", "neither a number"),
        ("generated:1:2", "neither a number"),
        ("generated:refined:refined", "neither a number"),
        ("generated:refind", "neither a number"),
        ("generated:noise:5:noise", "is not generated"),
        ("generated:99999999999999999999", "neither a number"),
    ],
)
def test_what_is_not_understood(spec: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        parse_generated(spec)


def test_a_folder_of_that_name_is_no_guess(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "generated").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"give \./generated"):
        parse_generated("generated")


def test_a_family_for_other_axes_is_refused() -> None:
    with pytest.raises(UsageError, match=r"chirps.*input has 2 axes of space.*leaves"):
        made(bare_network("n,3,8,8"), "generated:chirps")


@pytest.mark.parametrize("shape", ["n,40", "n", "n,3,2,2,2,2"])
def test_inputs_without_space_are_refused(shape: str) -> None:
    with pytest.raises(DataError, match=r"3 to 5 axes.*give own data"):
        made(bare_network(shape))


def test_a_mean_of_other_channels_is_refused() -> None:
    with pytest.raises(DataError, match=r"takes 1 channels.*3 values of mean"):
        made(bare_network("n,1,8,8"), preprocess="cifar10")


def test_nothing_is_measured_by_them() -> None:
    with pytest.raises(UsageError, match="--max-drop cannot be measured on generated"):
        Settings(max_drop=1, calibration="generated")
    with pytest.raises(DataError, match="for --calibration alone"):
        open_data("generated:10", preprocess=None, input_shape=(None, 3, 8, 8), dtype=np.float32)


@pytest.mark.parametrize("form", FOLDED)
@pytest.mark.parametrize("truth", [how for how in USUAL if "0.5" not in how])
def test_biases_tell_the_range_where_statistics_were_folded_away(truth: str, form: str) -> None:
    proto = folded(others(3, (12, 12), truth), 4, form)
    chosen_range = made(proto, "generated:24").generated.range
    near = {truth, "scale=1/255;mean=0.5;std=0.5"} if truth == "cifar10" else {truth}
    assert str(chosen_range.preprocess) in near  # ±1 and ImageNet's are near to each other
    assert chosen_range.by == "biases"
    assert "4 layers with biases" in chosen_range.evidence


def test_a_constant_that_adds_an_axis_is_no_bias() -> None:
    """The channels behind it lie along another axis."""
    proto = folded(others(3, (12, 12), "cifar10"), 4, "an Add")
    t = next(t for t in proto.graph.initializer if t.name == "t3")
    t.dims[:] = [1, *t.dims]
    del proto.graph.output[0].type.tensor_type.shape.dim[:]
    assert made(proto, "generated:24").generated.range.by == "nothing"  # three are left


def test_biases_that_no_usual_way_fits_are_not_evidence() -> None:
    """Ten thousand times the usual values."""
    proto = folded(1e6 * others(3, (12, 12), "cifar10"), layers=4)
    assert made(proto, "generated:24").generated.range.by == "nothing"


def test_three_biases_are_too_few() -> None:
    proto = folded(others(3, (12, 12), "cifar10"), layers=3)
    assert made(proto).generated.range.by == "nothing"
