import numpy as np
import pytest

from reprune_onnx.pruner.select.kernels import filters


def each(n):
    return [np.array([i]) for i in range(n)]


def test_conv():
    F = np.random.default_rng(0).normal(size=(4, 3, 2, 5)).astype(np.float32)
    (part,) = filters(F, each(4), out_axis=0)
    assert part.kernels.shape == (4, 3, 10)
    assert part.kernels.dtype == np.float64
    np.testing.assert_array_equal(part.kernels[2, 1], F[2, 1].ravel())
    np.testing.assert_array_equal(part.channels, [0, 1, 2, 3])


@pytest.mark.parametrize("k", [(3,), (2, 2, 2)])
def test_conv_of_other_rank(k):
    (part,) = filters(np.ones((4, 3, *k)), each(4), out_axis=0)
    assert part.kernels.shape == (4, 3, np.prod(k))


def test_grouped_conv_keeps_each_filters_own_inputs():
    F = np.random.default_rng(0).normal(size=(6, 2, 3, 3))  # three groups of two inputs
    (part,) = filters(F, each(6), out_axis=0, conv_groups=3)
    np.testing.assert_array_equal(part.kernels, F.reshape(6, 2, 9))


@pytest.mark.parametrize("out_axis", [0, 1, -1])
def test_matrix(out_axis):
    W = np.arange(6.0).reshape(2, 3)
    (part,) = filters(W, each(W.shape[out_axis]), out_axis)
    np.testing.assert_array_equal(part.kernels[:, :, 0], W if out_axis == 0 else W.T)


@pytest.mark.parametrize("g", [1, 3])
def test_transposed_conv(g):
    n_in, slots = 6, 4
    W = np.random.default_rng(0).normal(size=(n_in, slots, 2, 2))
    (part,) = filters(W, each(g * slots), out_axis=1, conv_groups=g, transposed=True)
    assert part.kernels.shape == (g * slots, n_in // g, 4)
    for o in range(g * slots):
        group, slot = divmod(o, slots)
        for j in range(n_in // g):
            expected = W[group * (n_in // g) + j, slot].ravel()
            np.testing.assert_array_equal(part.kernels[o, j], expected)


def test_channels_without_rows_are_absent():
    F = np.random.default_rng(0).normal(size=(3, 2, 1, 1))
    rows = [np.array([2]), np.array([], dtype=int), np.array([0])]
    (part,) = filters(F, rows, out_axis=0)
    np.testing.assert_array_equal(part.channels, [0, 2])
    np.testing.assert_array_equal(part.kernels, F[[2, 0]].reshape(2, 2, 1))


def test_no_rows_at_all():
    assert filters(np.ones((3, 2, 1, 1)), [np.array([], dtype=int)] * 3, out_axis=0) == ()


def test_tied_rows_stand_side_by_side():
    F = np.random.default_rng(0).normal(size=(6, 2, 3, 3))
    (part,) = filters(F, [np.array([i, i + 3]) for i in range(3)], out_axis=0)
    assert part.kernels.shape == (3, 4, 9)
    np.testing.assert_array_equal(part.kernels[1], np.concatenate([F[1], F[4]]).reshape(4, 9))


def test_one_part_per_number_of_rows():
    rows = [np.array([0, 1]), np.array([2]), np.array([3, 4]), np.array([5])]
    single, double = filters(np.ones((6, 2, 1, 1)), rows, out_axis=0)
    np.testing.assert_array_equal(single.channels, [1, 3])
    np.testing.assert_array_equal(double.channels, [0, 2])
    assert single.kernels.shape == (2, 2, 1)
    assert double.kernels.shape == (2, 4, 1)


def test_only_some_inputs():
    F = np.random.default_rng(0).normal(size=(3, 4, 3, 3))
    (part,) = filters(F, each(3), out_axis=0, inputs=np.array([0, 3]))
    np.testing.assert_array_equal(part.kernels, F[:, [0, 3]].reshape(3, 2, 9))


def test_the_weight_is_not_changed_or_shared():
    F = np.ones((3, 4, 1, 1))
    (part,) = filters(F, each(3), out_axis=0)
    assert not np.shares_memory(part.kernels, F)
