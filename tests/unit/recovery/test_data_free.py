"""Data-free recovery, where BatchNormalization tells what the dropped channels gave."""

from typing import Any

import numpy as np
import pytest
from cut_networks import Array, error, images, network, normal, outputs, prune, values

from reprune_onnx.activations.images import Images
from reprune_onnx.recovery.data_free import _Gaussian, _moments

HEADS: dict[str, tuple[str, dict[str, Any]]] = {
    "1×1": ("y = Conv (r, w2, b2)", {"w2": normal(4, 8, 1, 1), "b2": normal(4)}),
    "3×3": ("y = Conv (r, w2, b2)", {"w2": normal(4, 8, 3, 3), "b2": normal(4)}),
    "strided": (
        "y = Conv <strides = [2,2]> (r, w2, b2)",
        {"w2": normal(4, 8, 2, 2), "b2": normal(4)},
    ),
    "transposed": (
        "y = ConvTranspose <strides = [2,2]> (r, w2, b2)",
        {"w2": normal(8, 4, 2, 2), "b2": normal(4)},
    ),
    "before batch norm": (
        "c = Conv (r, w2)\n y = BatchNormalization (c, g2, b2, m2, v2)",
        {
            **{"w2": normal(4, 8, 1, 1), "g2": np.ones(4), "b2": np.zeros(4)},
            **{"m2": np.zeros(4), "v2": np.ones(4)},
        },
    ),
}
ACTIVATIONS = {
    "Relu": "r = Relu (n)",
    "Clip": "r = Clip (n, low, high)",
    "LeakyRelu": "r = LeakyRelu <alpha = 0.1> (n)",
    "Sigmoid": "r = Sigmoid (n)",
    "HardSwish": "r = HardSwish (n)",
    "Elu": "r = Elu (n)",
    "none": "r = Identity (n)",
}


def gaussian(n: int = 200, seed: int = 0) -> Images:
    x = np.random.default_rng(seed).standard_normal((n, 3, 8, 8)).astype(np.float32)
    return Images("gaussian", tuple({"x": x[k : k + 20]} for k in range(0, n, 20)), n)


def calibrated(body: str, weights: dict[str, Any]) -> Any:
    """x → Conv → BatchNormalization with the statistics of Gaussian images → ``body``."""
    w1 = weights.get("w1", normal(8, 3, 3, 3, seed=3))
    rng = np.random.default_rng(2)
    fixed = {
        **{
            "g": rng.uniform(0.5, 1.5, 8) * np.tile([1, -1], 4),
            "b": rng.uniform(-1, 1, 8),
            "m": np.zeros(8),
        },
        **{"v": (w1**2).sum(axis=(1, 2, 3)), "low": np.array(0.0), "high": np.array([1.0])},
    }
    text = f"a = Conv (x, w1)\n n = BatchNormalization <epsilon = 0.0> (a, g, b, m, v)\n{body}"
    return network(text, {**fixed, **weights, "w1": w1})


def means(proto: Any) -> Array:
    return outputs(proto, gaussian()).mean(axis=(0, 2, 3))


@pytest.mark.parametrize(("head", "weights"), HEADS.values(), ids=HEADS)
def test_the_mean_of_the_outputs_is_the_originals(head: str, weights: dict[str, Any]) -> None:
    pruned = prune(calibrated(f"r = Relu (n)\n{head}", weights), a=[0, 3, 6])
    recovered = pruned.recover("data-free")
    assert (recovered.method, recovered.samples, recovered.layers) == ("data-free", 0, 1)
    full, left, repaired = (
        means(m.proto) for m in (pruned.original, pruned.model, recovered.model)
    )
    assert np.abs(repaired - full).max() < 0.25 * np.abs(left - full).max()
    assert error(pruned.original, recovered.model, gaussian(seed=1)) < error(
        pruned.original, pruned.model, gaussian(seed=1)
    )


@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_activations_that_are_known(activation: str) -> None:
    head, weights = HEADS["3×3"]
    pruned = prune(calibrated(f"{activation}\n{head}", weights), a=[0, 3, 6])
    recovered = pruned.recover("data-free")
    full, left, repaired = (
        means(m.proto) for m in (pruned.original, pruned.model, recovered.model)
    )
    assert np.abs(repaired - full).max() < 0.03
    assert np.abs(repaired - full).max() < 0.3 * np.abs(left - full).max()


def test_a_filter_that_repeats_another_goes_for_little() -> None:
    """Not for nothing: a ridge stands for what correlations of filters leave open."""
    w1 = normal(8, 3, 3, 3, seed=3)
    w1[5] = w1[2]
    g, b = np.linspace(0.5, 1.5, 8), np.linspace(-1, 1, 8)
    g[5], b[5] = g[2], b[2]
    head, weights = HEADS["3×3"]
    pruned = prune(
        calibrated(f"r = Relu (n)\n{head}", {**weights, "w1": w1, "g": g, "b": b}), a=[5]
    )
    recovered = pruned.recover("data-free")
    before = error(pruned.original, pruned.model, gaussian())
    assert error(pruned.original, recovered.model, gaussian()) < 0.05 * before
    old, new = values(pruned.original.proto)["w2"], values(recovered.model.proto)["w2"]
    np.testing.assert_allclose(new[:, 2], old[:, 2] + old[:, 5], atol=0.1)


@pytest.mark.parametrize("rho", [-0.9, -0.3, 0.0, 0.6, 1.0])
def test_moments_after_an_activation_are_those_of_samples(rho: float) -> None:
    beta, gamma = np.array([0.3, -0.5]), np.array([1.2, 0.7])
    moments = _moments(
        _Gaussian(beta, gamma, np.array([[1.0, rho], [rho, 1.0]])), [lambda x: np.maximum(x, 0)]
    )
    u, v = np.random.default_rng(0).standard_normal((2, 400_000))
    z = np.maximum(beta + gamma * np.stack([u, rho * u + np.sqrt(1 - rho**2) * v], axis=1), 0)
    np.testing.assert_allclose(moments.mean, z.mean(axis=0), atol=0.01)
    np.testing.assert_allclose(moments.covariance, np.cov(z.T), atol=0.01)


def test_both_sides_of_a_concat() -> None:
    weights = {
        **{"w3": normal(6, 8, 1, 1), "g3": np.full(6, 0.8), "b3": np.linspace(-1, 1, 6)},
        **{"m3": np.zeros(6), "v3": np.ones(6), "w2": normal(4, 14, 1, 1), "b2": normal(4)},
    }
    body = """r = Relu (n)
      c = Conv (r, w3)
      d = BatchNormalization (c, g3, b3, m3, v3)
      e = Relu (d)
      h = Concat <axis = 1> (r, e)
      y = Conv (h, w2, b2)"""
    pruned = prune(calibrated(body, weights), a=[1, 4])
    recovered = pruned.recover("data-free")
    assert recovered.method == "data-free"
    old, new = values(pruned.model.proto), values(recovered.model.proto)
    assert not np.array_equal(old["w2"], new["w2"])
    full, left, repaired = (
        means(m.proto) for m in (pruned.original, pruned.model, recovered.model)
    )
    assert np.abs(repaired - full).max() < 0.5 * np.abs(left - full).max()


@pytest.mark.parametrize("op", ["Relu (a)", "Softplus (a)", "Identity (a)"])
def test_without_statistics_nothing_is_done(op: str) -> None:
    body = f"a = Conv (x, w1)\n r = {op}\n y = Conv (r, w2)"
    pruned = prune(network(body, {"w1": normal(8, 3, 3, 3), "w2": normal(4, 8, 1, 1)}), a=[1, 4])
    recovered = pruned.recover("data-free")
    assert (recovered.method, recovered.layers) == ("none", 0)
    assert recovered.model.proto == pruned.model.proto


def test_an_activation_that_is_not_known_stops_it() -> None:
    head, weights = HEADS["1×1"]
    pruned = prune(calibrated(f"r = Softplus (n)\n{head}", weights), a=[0, 3])
    assert pruned.recover("data-free").method == "none"


def test_auto_is_data_free_without_images_and_least_squares_with() -> None:
    head, weights = HEADS["1×1"]
    pruned = prune(calibrated(f"r = Relu (n)\n{head}", weights), a=[0, 3])
    assert pruned.recover("auto").method == "data-free"
    assert pruned.recover("auto", images()).method == "least-squares"
    assert pruned.recover("none", images()).model is pruned.model
