"""Sums of products in small portions equal those of all samples, with any number of threads."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from reprune_onnx.activations import moments as moments_module
from reprune_onnx.activations.gram import of_matrix
from reprune_onnx.activations.moments import Moments, Sums
from reprune_onnx.activations.workers import Workers, workers

FIELDS = ("x", "t", "xx", "xt", "tt")


@contextmanager
def threads(n: int) -> Iterator[Workers]:
    with threadpool_limits(1), ThreadPoolExecutor(n) as pool:
        yield Workers(pool, n)


def samples(n: int, g: int = 2, D: int = 5, m: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n)
    X = rng.standard_normal((g, n, D)) * rng.uniform(0.1, 3, (g, 1, D)) + rng.normal(size=(g, 1, D))
    T = X @ rng.standard_normal((g, D, m)) + rng.standard_normal((g, n, m)) + 1
    return X.astype(np.float32), T.astype(np.float32)


def added(sums: Sums, X: np.ndarray, T: np.ndarray, size: int) -> Sums:
    for k in range(0, X.shape[1], size):
        sums.add(X[:, k : k + size], T[:, k : k + size])
    return sums


def expected(X: np.ndarray, T: np.ndarray, centred: bool) -> Moments:
    X, T = X.astype(np.float64), T.astype(np.float64)
    n = X.shape[1]
    x, t = X.mean(axis=1), T.mean(axis=1)
    if not centred:
        x, t = np.zeros_like(x), np.zeros_like(t)
    X, T = X - x[:, None], T - t[:, None]
    xx, xt = X.swapaxes(1, 2) @ X / n, X.swapaxes(1, 2) @ T / n
    return Moments(n, x, t, tuple(map(of_matrix, xx)), xt, (T**2).mean(axis=1))


def values(moments: Moments, name: str) -> np.ndarray:
    field = getattr(moments, name)
    return np.stack([G.matrix() for G in field]) if name == "xx" else field


def assert_close(computed: Moments, wanted: Moments) -> None:
    for name in FIELDS:
        a, b = values(computed, name), values(wanted, name)
        large = name == "xx" and a.shape[-1] > moments_module._MANY
        assert a.dtype == (np.float32 if large else np.float64)
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize(("n", "size"), [(50, 7), (9000, 1000), (9000, 5000)])
def test_portions_equal_the_whole(centred: bool, n: int, size: int) -> None:
    X, T = samples(n)
    with threads(1) as pool:
        moments = added(Sums(pool), X, T, size).moments(centred)
    assert_close(moments, expected(X, T, centred))


@pytest.mark.parametrize("centred", [True, False])
def test_sums_of_many_inputs_are_kept_in_float32(
    centred: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moments_module, "_MANY", 4)
    X, T = samples(9000)
    with threads(1) as pool:
        halves = [Sums(pool), Sums(pool)]
        for k, half in enumerate(halves):
            added(half, X[:, k::2], T[:, k::2], 1000)
        a, b = (half.moments(centred) for half in halves)
        assert_close(a.merged(b), expected(X, T, centred))


def test_more_columns_than_one_block() -> None:
    X, T = samples(400, g=1, D=300, m=2)
    with threads(2) as pool:
        moments = added(Sums(pool), X, T, 100).moments()
    assert_close(moments, expected(X, T, True))
    (G,) = values(moments, "xx")
    np.testing.assert_allclose(G, G.T, atol=1e-5)


@pytest.mark.parametrize("centred", [True, False])
def test_means_that_are_large_do_not_hide_the_variance(centred: bool) -> None:
    """The squares differ from the variance by seven digits, which is all that float32 has."""
    X, T = samples(9000)
    X, T = X + np.float32(2000), T - np.float32(3000)
    other = T + X[:, :, :3] / 7
    with threads(1) as pool:
        first = added(Sums(pool), X[:, :5000], T[:, :5000], 900)
        second = added(Sums(pool), X[:, 5000:], T[:, 5000:], 900)
        m = first.moments(centred).merged(second.moments(centred))
        far_off = added(Sums(pool), X, other, 900).moments(centred)
    for computed, targets in ((m, T), (far_off, other)):
        wanted = expected(X, targets, centred)
        for name in FIELDS:
            a, b = values(computed, name), values(wanted, name)
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4, err_msg=name)


def test_inputs_that_never_vary_have_no_variance() -> None:
    X, T = samples(9000)
    X[:, :, 1] = np.float32(0.1)
    with threads(1) as pool:
        m = added(Sums(pool), X, T, 900).moments()
    assert not values(m, "xx")[:, 1].any()
    assert not m.xt[:, 1].any()


@pytest.mark.parametrize("centred", [True, False])
def test_both_parts_together(centred: bool) -> None:
    X, T = samples(600)
    with threads(1) as pool:
        first = added(Sums(pool), X[:, :400], T[:, :400], 100).moments(centred)
        second = added(Sums(pool), X[:, 400:], T[:, 400:], 100).moments(centred)
    assert_close(first, expected(X[:, :400], T[:, :400], centred))
    both = first.merged(second)
    assert both.n == 600
    assert_close(both, expected(X, T, centred))


@pytest.mark.parametrize("centred", [True, False])
def test_what_changes_in_the_targets_is_added(centred: bool) -> None:
    X, T = samples(500)
    other = (2 * T + X[:, :, :3] - 1).astype(np.float32)
    with threads(1) as pool:
        m = added(Sums(pool), X, T, 90).moments(centred)
        change = added(Sums(pool, xx=False), X, other - T, 90).moments(centred)
    wanted = expected(X, other, centred)
    np.testing.assert_allclose(m.t + change.t, wanted.t, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(m.xt + change.xt, wanted.xt, rtol=1e-5, atol=1e-4)
    assert change.xx == ()


def test_inputs_alone() -> None:
    X, T = samples(500)
    with threads(1) as pool:
        m = added(Sums(pool, xt=False), X, T, 90).moments()
    wanted = expected(X, T, True)
    np.testing.assert_allclose(values(m, "xx"), values(wanted, "xx"), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(m.tt, wanted.tt, rtol=1e-5, atol=1e-5)
    assert not m.xt.any()


@pytest.mark.parametrize("centred", [True, False])
def test_error_is_that_of_the_prediction(centred: bool) -> None:
    X, T = samples(300)
    W = np.random.default_rng(0).standard_normal((2, 3, 5))
    with threads(1) as pool:
        m = added(Sums(pool), X, T, 60).moments(centred)
    rest = (T - m.t[:, None]) - np.einsum("gnd,gmd->gnm", X - m.x[:, None], W)
    np.testing.assert_allclose(m.error(W), (rest**2).mean(axis=1), rtol=1e-4)


def test_the_same_bits_with_any_number_of_threads() -> None:
    X, T = samples(5000, g=1, D=290, m=40)
    collected = []
    for n in (1, 2, 5):
        with threads(n) as pool:
            collected.append(added(Sums(pool), X, T, 700).moments())
    for other in collected[1:]:
        for name in FIELDS:
            assert values(other, name).tobytes() == values(collected[0], name).tobytes(), name


def test_results_come_in_order_and_few_wait() -> None:
    started: list[int] = []

    def work(k: int) -> int:
        started.append(k)
        return k

    with threads(2) as pool:
        results = pool.in_order(work, 100)
        assert next(results) == 0
        assert len(started) <= 5
        assert list(results) == list(range(1, 100))


def test_an_error_in_a_thread_arrives() -> None:
    def work(k: int) -> int:
        return 1 // (3 - k)

    with workers() as pool, pytest.raises(ZeroDivisionError):
        pool.run(work, 10)


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize(("few", "more"), [(9, 12), (12, 200), (200, 9)])
def test_few_samples_are_kept_themselves(centred: bool, few: int, more: int) -> None:
    """Of fewer than half the inputs no matrix is made; together with many others there is one."""
    X, T = samples(few + more, D=40)
    with threads(1) as pool:
        first = added(Sums(pool), X[:, :few], T[:, :few], 5).moments(centred)
        second = added(Sums(pool), X[:, few:], T[:, few:], 5).moments(centred)
    assert_close(first, expected(X[:, :few], T[:, :few], centred))
    assert_close(second, expected(X[:, few:], T[:, few:], centred))
    thin = [type(m.xx[0]) is not type(of_matrix(np.eye(2))) for m in (first, second)]
    assert thin == [few < 20, more < 20]
    assert_close(first.merged(second), expected(X, T, centred))
