"""Batch-norm re-estimation: every changed layer's channels have the mean and deviation they had."""

from typing import Any

import numpy as np
import pytest
from cut_networks import Array, images, network, normal, outputs, prune, values

import reprune_onnx as rp

STATISTICS = {name: np.random.default_rng(k).uniform(0.5, 1.5, 6) for k, name in enumerate("gbmv")}
FIRST = "a = Conv <pads = [1,1,1,1]> (x, w1, b1)\n r = Relu (a)"
BN = "n = BatchNormalization (c, g, b, m, v)"
NETWORKS: dict[str, tuple[str, list[str]]] = {
    "folded": ("c = Conv (r, w2, b2)\n s = Relu (c)\n y = Conv (s, w3, b3)", ["c", "y"]),
    "live": (f"c = Conv (r, w2)\n {BN}\n s = Relu (n)\n y = Conv (s, w3, b3)", ["n", "y"]),
    "live with a bias": (f"c = Conv (r, w2, b2)\n{BN}\n s = Relu (n)\n y = Conv (s, w3, b3)", "ny"),
    "an Add of its own": ("c = Conv (r, w2)\n n = Add (c, add)\n y = Conv (n, w3, b3)", ["n", "y"]),
    "grouped": (
        "c = Conv <group = 2> (r, w4, b2)\n s = Relu (c)\n y = Conv (s, w3, b3)",
        ["c", "y"],
    ),
    "transposed": (
        "c = ConvTranspose <strides = [2,2]> (r, w5, b2)\n s = Relu (c)\n y = Conv (s, w3, b3)",
        ["c", "y"],
    ),
    "Gemm": (
        """p = AveragePool <kernel_shape = [4,4], strides = [4,4]> (r)
        f = Flatten (p)
        c = Gemm <alpha = 0.5, beta = -2.0> (f, w6, b2)
        s = Relu (c)
        y = Gemm <transB = 1> (s, w7, b3)""",
        ["c", "y"],
    ),
}
WEIGHTS: dict[str, Any] = {
    **{"w1": normal(8, 3, 3, 3), "b1": normal(8), "w2": normal(6, 8, 3, 3), "b2": normal(6)},
    **{"w3": normal(4, 6, 1, 1), "b3": normal(4), "w4": normal(6, 4, 3, 3)},
    **{"w5": normal(8, 6, 2, 2), "w6": normal(32, 6), "w7": normal(4, 6)},
    **{"add": normal(6).reshape(6, 1, 1), **STATISTICS},
}


def moments(model: rp.Model, name: str) -> tuple[Array, Array]:
    y = np.moveaxis(outputs(model.proto, images(), name), 1, -1).astype(np.float64)
    y = y.reshape(-1, y.shape[-1])
    return y.mean(axis=0), y.std(axis=0)


@pytest.mark.parametrize(("body", "tensors"), NETWORKS.values(), ids=NETWORKS)
def test_means_and_deviations_are_the_originals(body: str, tensors: list[str]) -> None:
    pruned = prune(network(f"{FIRST}\n{body}", WEIGHTS), a=[1, 2, 5, 6])
    recovered = pruned.recover("batch-norm", images())
    assert (recovered.method, recovered.layers) == ("batch-norm", 2)
    for name in tensors:
        mean, deviation = moments(pruned.original, name)
        cut_mean, cut_deviation = moments(pruned.model, name)
        assert not np.allclose(cut_mean, mean, atol=0.02)
        assert not np.allclose(cut_deviation, deviation, rtol=0.02)
        new_mean, new_deviation = moments(recovered.model, name)
        np.testing.assert_allclose(new_mean, mean, atol=2e-4)
        np.testing.assert_allclose(new_deviation, deviation, rtol=1e-3)


def test_a_layer_that_cannot_be_shifted_is_only_scaled() -> None:
    body = "c = Conv (r, w2)\n s = Tanh (c)\n y = Conv (s, w3, b3)"
    pruned = prune(network(f"{FIRST}\n{body}", WEIGHTS), a=[1, 2, 5])
    recovered = pruned.recover("batch-norm", images())
    deviation, new = (moments(m, "c")[1] for m in (pruned.original, recovered.model))
    np.testing.assert_allclose(new, deviation, rtol=1e-3)
    for a, b in zip(*(moments(m, "y") for m in (pruned.original, recovered.model)), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=2e-4)


def test_channels_that_are_cut_themselves() -> None:
    """The statistics are compared with those of the original's channels that are left."""
    body, _ = NETWORKS["live"]
    pruned = prune(network(f"{FIRST}\n{body}", WEIGHTS), a=[1, 2, 5], c=[0, 4])
    recovered = pruned.recover("batch-norm", images())
    mean, deviation = moments(pruned.original, "n")
    new_mean, new_deviation = moments(recovered.model, "n")
    np.testing.assert_allclose(new_mean, mean[[1, 2, 3, 5]], atol=2e-4)
    np.testing.assert_allclose(new_deviation, deviation[[1, 2, 3, 5]], rtol=1e-3)


def test_a_channel_that_hardly_varies_any_more_is_not_blown_up() -> None:
    weights = {k: np.array(v) for k, v in WEIGHTS.items()}
    weights["w2"][0, :4] = 0.0  # reads almost nothing but what goes
    weights["w2"][0, :4, 0, 0] = 1e-4
    weights["w2"][1, :4] = 0.0  # reads nothing but what goes
    body, _ = NETWORKS["folded"]
    pruned = prune(network(f"{FIRST}\n{body}", weights), a=[4, 5, 6, 7])
    recovered = pruned.recover("batch-norm", images())
    before, after = values(pruned.model.proto)["w2"], values(recovered.model.proto)["w2"]
    np.testing.assert_allclose(after[0], 10 * before[0], rtol=1e-5)
    np.testing.assert_array_equal(after[1], before[1])
    mean, new = moments(pruned.original, "c")[0], moments(recovered.model, "c")[0]
    np.testing.assert_allclose(new, mean, atol=2e-4)
