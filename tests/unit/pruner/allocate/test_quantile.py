import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprune_onnx.errors import UsageError
from reprune_onnx.pruner.allocate import all_equal, bn_gamma


def test_the_smallest_of_the_pool_fall():
    gammas = [np.array([0.1, 0.5, 0.9]), np.array([0.2, 0.3]), np.array([0.8, 0.7, 0.6])]
    assert bn_gamma(gammas, 0.5) == [2, 2, 0]
    assert bn_gamma(gammas, 0.25) == [1, 1, 0]


@pytest.mark.parametrize(
    ("sparsity", "n", "fall"),
    [(0.55, 100, 55), (0.1, 30, 3), (0.29, 100, 29), (0.07, 100, 7), (0.5, 5, 3), (0.999, 10, 10)],
)
def test_the_number_is_exact(sparsity, n, fall):
    gammas = [np.random.default_rng(0).random(n)]
    assert bn_gamma(gammas, sparsity) == [fall]
    assert bn_gamma(gammas, np.float64(sparsity)) == [fall]


def test_nothing_falls_at_zero():
    assert bn_gamma([np.zeros(4), np.ones(4)], 0) == [0, 0]
    assert bn_gamma([np.zeros(4), np.ones(4)], 0.0) == [0, 0]


def test_of_equals_the_later_stay():
    assert bn_gamma([np.ones(4), np.ones(4)], 0.5) == [4, 0]
    assert bn_gamma([np.array([2.0, 1.0]), np.array([1.0, 0.5])], 0.5) == [1, 1]
    assert bn_gamma([np.array([1.0, 1.0]), np.array([0.0, 1.0, 1.0])], 0.6) == [2, 1]


def test_groups_without_free_channels():
    assert bn_gamma([np.array([]), np.array([1.0, 2.0])], 0.5) == [0, 1]
    assert bn_gamma([], 0.5) == []


@pytest.mark.parametrize("sparsity", [1, 1.2, -0.1, math.nan])
def test_values_out_of_range_are_refused(sparsity):
    with pytest.raises(UsageError, match="at least 0 and less than 1"):
        bn_gamma([np.ones(3)], sparsity)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.7, 1.0]), max_size=6), max_size=5),
    st.integers(0, 99),
)
def test_equals_the_definition(lists, percent):
    drops = bn_gamma([np.array(gammas, dtype=float) for gammas in lists], percent / 100)
    pool = sorted((g, group, i) for group, gs in enumerate(lists) for i, g in enumerate(gs))
    fallen = pool[: math.ceil(Fraction(percent, 100) * len(pool))]
    assert drops == [sum(group == k for _, group, _ in fallen) for k in range(len(lists))]


def test_all_equal():
    assert all_equal([np.ones(3), np.ones(2) * (1 + 1e-9)])
    assert all_equal([np.zeros(3)])
    assert all_equal([np.array([])])
    assert all_equal([])
    assert not all_equal([np.ones(3), np.ones(2) * 1.001])
    assert not all_equal([np.ones(3) * 1e-9, np.ones(3) * 2e-9])
    assert not all_equal([np.full(3, np.inf)])
