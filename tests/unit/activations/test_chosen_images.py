"""Of many generated images those are taken whose activations are nearest to a file's statistics."""

import numpy as np
import onnx
import pytest
from text_graphs import model

from reprune_onnx.activations.generated.choose import Chooser, nearest
from reprune_onnx.activations.generated.make import make
from reprune_onnx.data.alternatives import Pixels
from reprune_onnx.data.preprocess import Preprocess
from reprune_onnx.data.target import image_target
from reprune_onnx.runtime.image_input import image_input
from reprune_onnx.settings import Settings
from reprune_onnx.types import Model

NORMED = """<ir_version: 8, opset_import: ["": 17]>
g (float[ROWS,1,4,4] x) => (float[ROWS,1,4,4] y) {
  y = BatchNormalization <epsilon = 0.0> (x, gamma, beta, mean, var)
}"""
BRIGHT = """<ir_version: 8, opset_import: ["": 17]>
g (float[n,1,4,4] x) => (float[n,2] y) {
  a = Flatten (x)
  y = Gemm (a, w, c)
}"""
PLAIN = """<ir_version: 8, opset_import: ["": 17]>
g (float[n,1,4,4] x) => (float[n,1,4,4] y) { y = Relu (x) }"""


def normed(mean: float, deviation: float, batch: str = "n") -> onnx.ModelProto:
    one = np.ones(1)
    at = {"mean": mean * one, "var": deviation**2 * one}
    return model(NORMED.replace("ROWS", batch), gamma=one, beta=0 * one, **at)


def pictures(means: list[float], deviation: float = 0.0) -> Pixels:
    """Images of a brightness each, half of the pixels above it and half below."""
    sign = np.where(np.arange(16) % 2, 1, -1).reshape(1, 1, 4, 4)
    x = np.array(means, np.float32).reshape(-1, 1, 1, 1) + deviation * sign
    target = image_target((None, 1, 4, 4), np.dtype(np.float32))
    return Pixels(x.astype(np.float32), None, Preprocess(scale=1.0), target, False)


def chooser(proto: onnx.ModelProto, some: Pixels) -> Chooser:
    return Chooser(Model(proto), image_input(proto, {}), some)


def test_the_deviations_are_those_of_the_definition() -> None:
    some = pictures([5.0, 8.0], deviation=2.0)
    rows = chooser(normed(4.0, 2.0), some)._deviations(some.x)
    m = np.array([0.5, 2.0])
    expected = np.stack([m, m**2 + 1 - 1], axis=1).clip(-3, 3) / np.sqrt(2)
    np.testing.assert_allclose(rows, expected, rtol=1e-6)


def test_a_mean_row_near_zero_beats_every_single_row() -> None:
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(60, 5)) + np.eye(5)[0]).astype(np.float32)
    taken = rows[nearest(rows, 20)].mean(axis=0)
    assert np.linalg.norm(taken) < 0.2 * np.linalg.norm(rows.mean(axis=0))
    shortest = rows[np.argsort((rows**2).sum(axis=1))[:20]].mean(axis=0)
    assert np.linalg.norm(taken) < np.linalg.norm(shortest)


@pytest.mark.parametrize("batch", ["n", "4"])
def test_images_are_taken_that_have_the_statistics_of_the_file(batch: str) -> None:
    some = pictures([2.0, 9.0, 3.0, 9.0, 1.0, 9.0, 30.0, -9.0, 9.0], deviation=1.0)
    choice = chooser(normed(2.0, 1.0, batch), some).choose(some, 3)
    assert choice.at.tolist() == [0, 2, 4]
    assert (choice.by, choice.drawn) == ("statistics", 9)
    assert choice.after < 0.5 < choice.before
    assert "3 of 9" in choice.notes[0] and "\n" not in choice.notes[0]
    other = chooser(normed(9.0, 1.0, batch), some).choose(some, 3)
    assert set(other.at.tolist()) <= {1, 3, 5, 8}


def test_answers_of_a_classifier_are_spread() -> None:
    proto = model(BRIGHT, w=np.full((16, 2), 1.0) * (-1, 1), c=np.zeros(2))
    some = pictures([1.0] * 9 + [-1.0] * 3)
    choice = chooser(proto, some).choose(some, 6)
    assert choice.by == "answers"
    assert sorted((choice.at < 9).tolist()) == [False] * 3 + [True] * 3


def test_where_nothing_tells_the_first_are_taken() -> None:
    some = pictures([3.0, 1.0, 2.0])
    choice = chooser(model(PLAIN), some).choose(some, 2)
    assert (choice.at.tolist(), choice.by, choice.notes) == ([0, 1], "nothing", ())


def test_twice_as_many_are_generated_where_there_is_a_choice() -> None:
    settings = Settings(sparsity=0.5, calibration="generated:12", preprocess="none")
    chosen = make(Model(normed(90.0, 40.0)), settings).generated
    assert (chosen.n, chosen.choice.drawn, len(chosen.choice.at)) == (12, 24, 12)
    assert chosen.choice.after < chosen.choice.before
    assert make(Model(model(PLAIN)), settings).generated.choice.drawn == 12
