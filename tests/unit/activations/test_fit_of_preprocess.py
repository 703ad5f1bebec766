"""A wrong --preprocess is noticed, in one line that names a better one; the right one never is."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from folded_norms import folded
from text_graphs import model

from reprune_onnx.activations import fit_of_preprocess
from reprune_onnx.activations.evidence import StatisticsEvidence, information
from reprune_onnx.activations.opened import Wanted, open_for
from reprune_onnx.data.labels import IF_CLASSES
from reprune_onnx.data.preprocess import PRESETS, parse_preprocess
from reprune_onnx.data.reading import Reading
from reprune_onnx.errors import DataError
from reprune_onnx.runtime.image_input import image_input
from reprune_onnx.types import Model

NORMED = """<ir_version: 8, opset_import: ["": 17]>
g (float[n,3,8,8] x) => (float[n,4,8,8] y) {
  a = Conv <pads = [1, 1, 1, 1]> (x, w)
  y = BatchNormalization (a, gamma, beta, mean, var)
}"""
BRIGHT = """<ir_version: 8, opset_import: ["": 17]>
g (float[n,3,8,8] x) => (float[n,2] y) {
  a = GlobalAveragePool (x)
  b = Flatten (a)
  y = Gemm (b, w, c)
}"""
PLAIN = """<ir_version: 8, opset_import: ["": 17]>
g (float[n,3,8,8] x) => (float[n,3,8,8] y) { y = Relu (x) }"""
USUAL = (
    "scale=1/255",
    "none",
    "scale=1/255;mean=0.5;std=0.5",
    "cifar10",
    "scale=1.0;mean=123.0,117.0,104.0",
)
BGR = "scale=1/255;mean=0.406,0.456,0.485;std=0.225,0.224,0.229;color=bgr"


def photos(n: int = 64) -> np.ndarray:
    """Pictures of a brightness and a colour each."""
    rng = np.random.default_rng(0)
    tint = rng.uniform(20, 200, (n, 3, 1, 1)) + rng.normal(0, 20, (n, 3, 8, 8))
    return tint.clip(0, 255).astype(np.uint8)


def as_fed(x: np.ndarray, text: str) -> np.ndarray:
    """What --preprocess makes of 8-bit images, by its definition."""
    how = parse_preprocess(text)
    x = x[:, ::-1] if how.color == "bgr" else x
    mean, std = (np.array(v or d).reshape(1, -1, 1, 1) for v, d in ((how.mean, 0), (how.std, 1)))
    return ((x * (how.scale or 1.0) - mean) / std).astype(np.float32)


def trained_on(x: np.ndarray, text: str) -> onnx.ModelProto:
    """A Conv and a BatchNormalization with the statistics of ``x`` as fed in training."""
    w = np.random.default_rng(1).normal(0, 1, (4, 3, 3, 3)).astype(np.float32)
    one = np.ones(4)
    first = model(NORMED, w=w, gamma=one, beta=0 * one, mean=0 * one, var=one)
    first.graph.output[0].CopyFrom(onnx.ValueInfoProto(name="a"))
    del first.graph.node[1]
    from reprune_onnx.runtime.ort import Session

    a = Session(first, optimize=False).run({"x": as_fed(x, text)})["a"]
    at = {"mean": a.mean(axis=(0, 2, 3)), "var": a.var(axis=(0, 2, 3))}
    return model(NORMED, w=w, gamma=one, beta=0 * one, **at)


def bright_or_dark(scale: float = 1.0) -> onnx.ModelProto:
    """Says whether an image of values 0 to ``scale`` is brighter than the middle; no statistics."""
    w = np.full((3, 2), 20 / scale) * (-1, 1)
    return model(BRIGHT, w=w, c=np.array([30.0, -30.0]))


def bright_photos() -> tuple[np.ndarray, np.ndarray]:
    y = np.arange(64) % 2
    x = np.random.default_rng(2).integers(0, 90, (64, 3, 8, 8)) + 165 * y[:, None, None, None]
    return x.astype(np.uint8), y


@pytest.fixture
def noted(tmp_path: Path) -> Any:
    """What is said of arrays that are fed to a model so."""

    def noted(proto: onnx.ModelProto, text: str | None, **arrays: np.ndarray) -> str:
        path = tmp_path / "images.npz"
        np.savez(path, **arrays)
        data = open_for(proto, Wanted(str(path), Reading(text), IF_CLASSES), {})
        expected = parse_preprocess(text).resolve(arrays["x"].dtype, np.dtype(np.float32))
        assert data.preprocess == expected  # never another than the user's
        said = [*data.said, *filter(None, [data.better])]
        assert all("\n" not in line for line in said)
        return "\n".join(said)

    return noted


def test_the_misfit_of_statistics_is_the_divergence_of_normal_distributions():
    text = """<ir_version: 8, opset_import: ["": 17]>
    g (float[n,2,1,2] x) => (float[n,2,1,2] y) {
      y = BatchNormalization <epsilon = 0.0> (x, gamma, beta, mean, var)
    }"""
    one = np.ones(2)
    proto = model(text, gamma=one, beta=one, mean=np.array([0.0, 5.0]), var=np.array([1.0, 4.0]))
    x = np.array([[[[0, 2]], [[3, 7]]]], np.float32)  # means 1 and 5, variances 1 and 4
    port = image_input(proto, {})
    misfit = StatisticsEvidence(Model(proto), port).misfit(x)
    assert misfit == pytest.approx(
        np.log1p(0.5) / 2
    )  # ½·(1 − 0)² of one channel, none of the other


@pytest.mark.parametrize("truth", USUAL)
def test_statistics_tell_every_usual_way_from_every_other(noted: Any, truth: str) -> None:
    x = photos()
    proto = trained_on(x, truth)
    assert noted(proto, truth, x=x) == ""
    for given in set(USUAL) - {truth}:
        line = noted(proto, given, x=x)
        spec = line.replace("'", "").replace(";color=rgb", "")  # what cifar10 says of colours
        named = "scale=1.0" if (truth, given) == ("none", "cifar10") else truth
        assert f"with --preprocess {named} than with" in spec
        assert "BatchNormalization" in line


def test_colours_in_another_order_keep_their_statistics_in_order(noted: Any) -> None:
    x = photos()
    proto = trained_on(x, BGR)
    assert noted(proto, BGR, x=x) == ""
    assert f"with --preprocess '{BGR}'" in noted(proto, "scale=1/255;color=bgr", x=x)


@pytest.mark.parametrize(("white", "kind"), [(1, np.float32), (16, np.uint8), (255, np.float32)])
def test_white_is_what_the_data_says(noted: Any, white: int, kind: Any) -> None:
    x = (photos() / 255.0 * white).astype(kind)
    x[0, 0, 0, 0] = white
    proto = trained_on(x.astype(np.float64) / white * 255, "scale=1/255")
    right = "none" if white == 1 else f"scale=1/{white}"
    assert noted(proto, right, x=x) == ""
    for given in {"scale=1/255", "none", "scale=1/4"} - {right}:
        assert f"--preprocess {right} than" in noted(proto, given, x=x)


def test_what_fits_is_known_without_trying_others(noted: Any, monkeypatch: Any) -> None:
    def tried(*_: Any) -> Any:
        raise AssertionError("the given way fits, and others are tried")

    monkeypatch.setattr(fit_of_preprocess, "alternatives", tried)
    x, y = bright_photos()
    assert noted(trained_on(photos(), "cifar10"), "cifar10", x=photos()) == ""
    assert noted(bright_or_dark(), "scale=1/255", x=x, y=y) == ""
    assert noted(bright_or_dark(), "scale=1/255", x=x) == ""
    with pytest.raises(AssertionError):
        noted(trained_on(photos(), "cifar10"), "none", x=photos())


def test_statistics_of_no_images_say_nothing(noted: Any) -> None:
    one = np.ones(4)
    w = np.random.default_rng(1).normal(0, 1, (4, 3, 3, 3))
    untrained = model(NORMED, w=w, gamma=one, beta=0 * one, mean=0 * one, var=one)
    for given in USUAL:
        assert noted(untrained, given, x=photos()) == ""


@pytest.mark.parametrize("labelled", [True, False])
def test_a_classifier_without_statistics(noted: Any, labelled: bool) -> None:
    x, y = bright_photos()
    data = {"x": x, "y": y} if labelled else {"x": x}
    assert noted(bright_or_dark(), "scale=1/255", **data) == ""
    assert noted(bright_or_dark(255.0), "none", **data) == ""
    line = noted(bright_or_dark(), "none", **data)
    assert "with --preprocess scale=1/255 than with none" in line
    right = "64 of the labels of 64 images are right instead of 32"
    assert (right if labelled else "0.69 nats instead of 0.00") in line
    assert "with --preprocess none than with scale=1/255" in noted(
        bright_or_dark(255.0), None, **data
    )


def test_labels_tell_the_order_of_colours(noted: Any) -> None:
    red = np.random.default_rng(3).integers(0, 2, 64)
    x = np.full((64, 3, 8, 8), 100, np.uint8)
    x[np.arange(64), 2 - 2 * red] = 200
    proto = model(BRIGHT, w=np.array([[-9.0, 9], [0, 0], [9, -9]]), c=np.zeros(2))
    assert noted(proto, "scale=1/255", x=x, y=red) == ""
    line = noted(proto, "scale=1/255;color=bgr", x=x, y=red)
    assert "with --preprocess 'scale=1/255;color=rgb' than" in line


def test_labels_of_other_classes_or_in_another_order_say_nothing(noted: Any) -> None:
    x, y = bright_photos()
    assert noted(bright_or_dark(), "scale=1/255", x=x, y=1 - y) == ""
    assert noted(bright_or_dark(), "scale=1/255", x=x, y=y + 7) == ""


@pytest.mark.parametrize(
    ("given", "white", "better"),
    [
        ("cifar10", 1.0, "scale=1.0;mean=0.485,0.456,0.406;std=0.229,0.224,0.225;color=rgb"),
        ("scale=1/255", 1.0, "none"),
        ("mean=0.5;std=0.5", 255.0, "scale=1/255;mean=0.5;std=0.5"),
        ("scale=1;mean=0.485,0.456,0.406", 255.0, "scale=1/255;mean=0.485,0.456,0.406"),
        ("none", 1.0, None),
        (None, 255.0, None),
        ("cifar10", 255.0, None),
        ("mean=104,117,123", 255.0, None),
        ("scale=1/255;mean=-0.5", -1.0, None),
    ],
)
def test_floats_that_are_scaled_twice_or_never(
    noted: Any, given: str | None, white: float, better: str | None
) -> None:
    x = (photos() / 255.0 * white).astype(np.float32)
    x[0, 0, 0, 0] = white
    line = noted(model(PLAIN), given, x=x)
    if better is None:
        assert line == ""
    else:
        assert f"--preprocess {better} than" in line.replace("'", "")
        assert "scaled twice, or never" in line


def test_it_stops_no_run(noted: Any) -> None:
    text = PLAIN.replace("Relu (x)", "my.Own (x)").replace('"": 17', '"": 17, "my": 1')
    assert noted(model(text), None, x=photos()) == ""
    bytes_in = PLAIN.replace("float", "uint8").replace("Relu", "Identity")
    assert noted(model(bytes_in), "none", x=photos()) == ""


def test_information_of_sure_doubtful_and_equal_answers():
    assert information(np.eye(4)) == pytest.approx(np.log(4))
    assert information(np.full((4, 4), 0.25)) == pytest.approx(0, abs=1e-9)
    assert information(np.eye(4)[[0, 0, 0]]) == pytest.approx(0, abs=1e-9)


def test_every_preset_with_a_mean_is_among_the_usual_ways():
    assert {PRESETS["cifar10"].mean, PRESETS["imagenet-bgr"].mean[::-1]} <= {
        parse_preprocess(text).mean for text in USUAL
    }


def test_the_line_is_printed_and_in_the_report(
    model: Path, digits: Path, tmp_path: Path, call: Any
) -> None:
    words = "fit this file better with --preprocess scale=1/16 than with scale=1/255"
    out = tmp_path / "out.onnx"
    prune = ("prune", model, "-o", out, "--sparsity", "0.3", "--no-verify", "--recover", "none")
    called = call(*prune, "--calibration", digits)
    assert (called.code, words in called.out) == (0, True)
    report = json.loads((tmp_path / "out.report.json").read_text())
    assert [words in note for note in report["notes"]].count(True) == 1
    assert report["settings"]["preprocess"] is None
    assert words in call("evaluate", model, "--data", digits).out
    right = ("--preprocess", "scale=1/16")
    assert "better" not in call("evaluate", model, "--data", digits, *right).out
    measured = json.loads(call("evaluate", model, "--data", digits, "--json", "-").out)
    assert words in measured["preprocess_note"]
    measured = json.loads(call("evaluate", model, "--data", digits, *right, "--json", "-").out)
    assert measured["preprocess_note"] is None


SEVERAL = {
    "recover": ("recover", "MODEL", "SMALL", "--report", "REPORT", "--calibration", "DATA"),
    "convert": ("convert", "MODEL", "--target", "cpu", "--calibration", "DATA"),
    "finetune": ("finetune", "MODEL", "--data", "DATA"),
    "train": ("train", "MODEL", "--data", "DATA", "--sparsity", "0.3"),
}


@pytest.mark.parametrize("command", SEVERAL)
def test_every_command_that_reads_images_prints_the_line(
    model: Path, digits: Path, tmp_path: Path, call: Any, command: str, monkeypatch: Any
) -> None:
    """Training stops right behind it here."""
    trains = command in ("finetune", "train")
    if trains:
        pytest.importorskip("torch", reason="training needs PyTorch")
        pytest.importorskip("lightning_fabric", reason="training needs Lightning Fabric")

        def stop(*_: Any, **__: Any) -> None:
            raise DataError("trained enough")

        monkeypatch.setattr(f"reprune_onnx.training.{command}.{command}", stop)
    small, few = tmp_path / "small.onnx", tmp_path / "few.npz"
    with np.load(digits) as arrays:
        np.savez(few, x=arrays["x"][:120], y=arrays["y"][:120])
    if command == "recover":
        cut = ("prune", model, "-o", small, "--sparsity", "0.3", "--no-verify", "--recover", "none")
        assert call(*cut).code == 0
    places = {"MODEL": model, "SMALL": small, "REPORT": tmp_path / "small.report.json", "DATA": few}
    for how, told in (((), True), (("--preprocess", "scale=1/16"), False)):
        words = [places.get(word, word) for word in SEVERAL[command]]
        called = call(*words, "-o", tmp_path / f"{told}.onnx", *how)
        assert called.code == int(trains), called.err
        assert ("trained enough" in called.err) == trains
        assert ("fit this file better with" in called.out + called.err) == told


GIVEN = [("scale=1/255", True), ("none", True), ("cifar10", False)]


@pytest.mark.parametrize("name", ["bn", "folded", "dynamo"])
def test_the_issue_s_networks(noted: Any, shared: Path, name: str) -> None:
    proto = onnx.load(shared / f"models/resnet20_cifar10_{name}.onnx")
    x = np.load(shared / "data/cifar10_lossless.npz")["x_train"][::146]
    for given, is_wrong in GIVEN:
        line = noted(proto, given, x=x)
        assert ("with --preprocess cifar10 than" in line) == is_wrong
        assert bool(line) == is_wrong


@pytest.mark.parametrize("given", ["scale=1", "scale=1/255"])
@pytest.mark.parametrize("truth", ["none", "scale=1/255", "cifar10"])
def test_biases_tell_values_of_the_wrong_size(truth: str, given: str, noted: Any) -> None:
    """Of a network that classifies nothing and has no BatchNormalization left."""
    x = photos()
    said = noted(folded(as_fed(x, truth), 4), given, x=x)
    if (truth == "none") == (given == "scale=1"):
        assert "--preprocess" not in said
    else:
        wanted = "none" if truth == "none" else "scale=1/255"
        assert f"fit this file better with --preprocess {wanted}" in said.replace("'", "")
        assert "its biases are then as large as what they are added to" in said


def test_three_biases_say_nothing(noted: Any) -> None:
    x = photos()
    assert "--preprocess" not in noted(folded(as_fed(x, "scale=1/255"), 3), "scale=1", x=x)
