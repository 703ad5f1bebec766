"""How many images and positions a layer is measured on."""

import numpy as np
import pytest
from text_graphs import model

import reprune_onnx.activations.sampling as sampling
from reprune_onnx.activations.linear import Linear
from reprune_onnx.activations.sampling import Look, Share, shares
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.types import Model

PYRAMID = """<ir_version: 8, opset_import: ["": 17]>
g (float[n,3,64,64] x) => (float[n,8] out) {
  a = Conv <strides = [2,2]> (x, w0)
  b = Conv <strides = [4,4]> (a, w1)
  u = ConvTranspose <strides = [4,4]> (b, w2)
  p = GlobalAveragePool (u)
  f = Flatten (p)
  out = MatMul (f, w3)
}"""
WEIGHTS = {
    "w0": np.zeros((8, 3, 2, 2)),
    "w1": np.zeros((8, 8, 4, 4)),
    "w2": np.zeros((8, 8, 4, 4)),
    "w3": np.zeros((8, 8)),
}


def batches(n: int, size: int = 10) -> list[dict[str, np.ndarray]]:
    return [{"x": np.zeros((size, 3, 64, 64), np.float32)} for _ in range(n // size)]


def looks(names: list[str]) -> list[Look]:
    graph = Graph(Model(model(PYRAMID, **WEIGHTS)))
    result = []
    for name in names:
        op = graph.producer(name)
        assert op is not None
        result.append(Look.to_fit(name, Linear(op, WEIGHTS[op.inputs[1]].shape)))
    return result


def test_deeper_layers_look_at_more_images() -> None:
    proto = model(PYRAMID, **WEIGHTS)
    a, b = shares(proto, batches(2000), looks(["a", "b"]))
    assert a.batches * 10 * 32 * 32 >= sampling._SPREAD * sampling._TO_FIT
    assert a.batches < b.batches <= 200
    for share in (a, b):
        assert share.batches * 10 * share.each >= sampling._TO_FIT


def test_what_is_only_compared_takes_fewer_samples_the_fewer_inputs_a_layer_has() -> None:
    graph = Graph(Model(model(PYRAMID, **WEIGHTS)))
    samples = []
    for fan_in in (8, 600, 5000):
        op = graph.producer("out")
        assert op is not None
        samples.append(Look.to_compare("out", Linear(op, (fan_in, 8))).samples)
    assert samples == [12_000, 24 * 600, 20_000]


def test_small_batches_make_portions_together() -> None:
    proto = model(PYRAMID, **WEIGHTS)
    (share,) = shares(proto, batches(100, size=3), looks(["a"]))
    assert share.together == 5
    assert [b for portion in share.portions for b in portion] == list(range(share.batches))
    assert {len(portion) for portion in share.portions[:-1]} == {5}
    (few,) = shares(proto, batches(9, size=1), looks(["a"]))
    assert len(few.portions) >= 4
    (large,) = shares(proto, batches(400, size=20), looks(["a"]))
    assert large.together == 1


def test_behind_a_global_pooling_every_image_counts() -> None:
    proto = model(PYRAMID, **WEIGHTS)
    (share,) = shares(proto, batches(2000), looks(["out"]))
    assert share.batches == 200
    assert len(share.places(1, 0)) == 1


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        ([3, 1, 7, 2, 5, 1], [3, 3, 7, 5, 5, 1]),
        ([1, 2, 3], [1, 2, 3]),
        ([3, 2, 1], [3, 2, 1]),
        ([5], [5]),
    ],
)
def test_counts_rise_and_then_fall(wanted: list[int], taken: list[int]) -> None:
    """So no image is computed twice, and none is held longer than it has to be."""
    assert sampling._one_hill(np.array(wanted)).tolist() == taken


def test_few_images_are_all_looked_at_in_four_batches_at_least() -> None:
    proto = model(PYRAMID, **WEIGHTS)
    assert [s.batches for s in shares(proto, batches(20), looks(["a", "b"]))] == [2, 2]
    (share,) = shares(proto, batches(1000, size=100), looks(["a"]))
    assert share.batches == 4
    assert shares(proto, batches(20), []) == []


def test_places_are_the_same_in_every_run_and_differ_between_batches() -> None:
    share = Share(batches=4, each=100)
    at = share.places(40_000, 0)
    assert len(at) == 100
    assert (np.diff(at) > 0).all()
    np.testing.assert_array_equal(at, share.places(40_000, 0))
    assert set(at) != set(share.places(40_000, 1))
    np.testing.assert_array_equal(share.places(90, 1), np.arange(90))


def test_a_tensor_that_is_an_input_is_looked_at_too() -> None:
    proto = model(PYRAMID, **WEIGHTS)
    (share,) = shares(proto, batches(400), [Look("x", 1)])
    assert share == shares(proto, batches(400), [Look("x", 1)])[0]
    assert share.batches * 10 * share.each >= sampling._TO_COMPARE[0]
