"""Ridge regression towards given weights, and the ridge that predicts other images best."""

from typing import Any

import numpy as np
import pytest

from reprune_onnx.activations.gram import of_matrix
from reprune_onnx.activations.moments import Moments
from reprune_onnx.recovery.ridge import MORE_RIDGES, RIDGES, Regression, choose

Array = np.ndarray[Any, np.dtype[np.float64]]


def moments(X: Array, T: Array) -> Moments:
    """X (g, n, D), T (g, n, m), as they are."""
    n = X.shape[1]
    zeros = np.zeros((len(X), X.shape[2])), np.zeros((len(X), T.shape[2]))
    xx, xt = X.swapaxes(1, 2) @ X / n, X.swapaxes(1, 2) @ T / n
    return Moments(n, *zeros, tuple(map(of_matrix, xx)), xt, (T**2).mean(axis=1))


def solve(m: Moments, W0: Array, ridge: float) -> Array:
    return Regression(m.xx, W0, ridge).solve(m.xt)


def draw(rng: np.random.Generator, n: int, noise: float, true: Array) -> tuple[Array, Array]:
    g, m, D = true.shape
    X = rng.standard_normal((g, n, D)) * np.linspace(0.2, 2, D)
    return X, np.einsum("gnd,gmd->gnm", X, true) + noise * rng.standard_normal((g, n, m))


@pytest.mark.parametrize("ridge", [1e-9, *RIDGES, 100.0])
def test_the_solution_is_that_of_augmented_least_squares(ridge: float) -> None:
    rng = np.random.default_rng(0)
    true, W0 = rng.standard_normal((2, 3, 5)), rng.standard_normal((2, 3, 5))
    X, T = draw(rng, 50, 0.5, true)
    W = solve(moments(X, T), W0, ridge)
    for g in range(2):
        weight = np.sqrt(ridge * (X[g] ** 2).sum() / 5)  # √(n·λ)
        A = np.vstack([X[g], weight * np.eye(5)])
        B = np.vstack([T[g], weight * W0[g].T])
        np.testing.assert_allclose(W[g].T, np.linalg.lstsq(A, B, rcond=None)[0], rtol=1e-8)


def test_inputs_that_are_always_zero_keep_their_weights() -> None:
    rng = np.random.default_rng(0)
    true, W0 = rng.standard_normal((1, 3, 5)), rng.standard_normal((1, 3, 5))
    X, T = draw(rng, 50, 0.5, true)
    X[:, :, 2] = 0.0
    W = solve(moments(X, T), W0, 1e-3)
    np.testing.assert_array_equal(W[:, :, 2], W0[:, :, 2])
    assert not np.allclose(W[:, :, 1], W0[:, :, 1])
    np.testing.assert_array_equal(solve(moments(0 * X, T), W0, 1e-3), W0)


def test_the_given_weights_stay_as_they_are() -> None:
    rng = np.random.default_rng(0)
    W0 = rng.standard_normal((1, 3, 5))
    before = W0.copy()
    X, T = draw(rng, 50, 0.5, rng.standard_normal((1, 3, 5)))
    solve(moments(X, T), W0, 1e-3)
    np.testing.assert_array_equal(W0, before)


def test_the_ridge_that_predicts_best_is_chosen() -> None:
    rng = np.random.default_rng(1)
    true = rng.standard_normal((1, 3, 30))
    near = true + 0.05 * rng.standard_normal(true.shape)
    chosen = {}
    for n, noise in ((4000, 0.01), (40, 3.0)):
        fit = moments(*draw(rng, n, noise, true))
        test = moments(*draw(rng, n, noise, true))
        errors = [float(test.error(solve(fit, near, r)).sum()) for r in RIDGES]
        chosen[n] = choose(fit, test, near, np.ones((1, 3)))
        assert chosen[n] == RIDGES[int(np.argmin(errors))]
    assert chosen[4000] == min(RIDGES), "many clean samples are followed"
    assert chosen[40] == max(RIDGES), "few noisy samples are not"


def test_outputs_that_do_not_count_have_no_say() -> None:
    """The first output has noise only, the second is clean."""
    rng = np.random.default_rng(1)
    true, W0 = rng.standard_normal((1, 2, 20)), np.zeros((1, 2, 20))
    true[0, 0] = 0.0
    sets = []
    for _ in range(2):
        X, T = draw(rng, 30, 0.0, true)
        T[:, :, 0] += 50 * rng.standard_normal(T.shape[:2])
        sets.append(moments(X, T))
    assert choose(*sets, W0, np.array([[1.0, 0.0]])) == max(RIDGES)
    assert choose(*sets, W0, np.array([[0.0, 1.0]])) == min(RIDGES)


def test_a_ridge_is_judged_by_outputs_of_all_kinds() -> None:
    """Of 300 outputs every other one is noise: the choice is that of all of them."""
    rng = np.random.default_rng(2)
    true = rng.standard_normal((1, 300, 20))
    near = true + 0.05 * rng.standard_normal(true.shape)
    sets = []
    for _ in range(2):
        X, T = draw(rng, 60, 0.0, true)
        T[:, :, ::2] += 3 * rng.standard_normal(T[:, :, ::2].shape)
        sets.append(moments(X, T))
    errors = [float(sets[1].error(solve(sets[0], near, r)).sum()) for r in RIDGES]
    assert choose(*sets, near, np.ones((1, 300))) == RIDGES[int(np.argmin(errors))]


def test_further_ridges_are_tried_where_they_are_given() -> None:
    """Weights that nothing improves stay best where the samples are noise."""
    rng = np.random.default_rng(3)
    true = rng.standard_normal((1, 3, 30))
    sets = [moments(*draw(rng, 40, 30.0, true)) for _ in range(2)]
    assert choose(*sets, true, np.ones((1, 3))) == max(RIDGES)
    assert choose(*sets, true, np.ones((1, 3)), MORE_RIDGES) == max(MORE_RIDGES)


def test_of_ridges_that_leave_only_rounding_the_smallest_is_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Errors of 1e-12 and 0 do not differ, whichever kernels summed them."""
    rng = np.random.default_rng(3)
    true = rng.standard_normal((1, 3, 4))
    fit, test = (moments(*draw(rng, 100, 0.0, true)) for _ in range(2))
    noise = iter([1e-12, 3e-12, 2e-12])
    monkeypatch.setattr(Moments, "error", lambda *_: np.full((1, 3), next(noise)))
    assert choose(fit, test, true, np.ones((1, 3))) == RIDGES[0]
