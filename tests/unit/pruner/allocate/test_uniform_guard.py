import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprune_onnx.errors import UsageError
from reprune_onnx.pruner.allocate import guard, uniform
from reprune_onnx.types import Group, WholeBranch


@pytest.mark.parametrize(
    ("sparsity", "n", "drop"),
    [
        (0.55, 100, 55),
        (0.1, 30, 3),
        (0.29, 100, 29),
        (0.5, 5, 2),
        (0.3, 10, 3),
        (0.999, 10, 9),
        (0, 10, 0),
        (0.9, 1, 0),
    ],
)
def test_uniform_is_exact(sparsity, n, drop):
    assert uniform([n, n], sparsity) == [drop, drop]
    assert uniform([n], np.float64(sparsity)) == [drop]


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 999), st.lists(st.integers(1, 3000), max_size=5))
def test_uniform_equals_the_definition(permille, counts):
    assert uniform(counts, permille / 1000) == [
        math.floor(Fraction(permille, 1000) * n) for n in counts
    ]


@pytest.mark.parametrize("sparsity", [1.0, -0.01, 3])
def test_uniform_refuses_values_out_of_range(sparsity):
    with pytest.raises(UsageError, match=str(sparsity)):
        uniform([4], sparsity)


def group(n: int, fixed: int = 0, branch: WholeBranch | None = None) -> Group:
    return Group(0, np.arange(n), np.arange(n) >= fixed, (), (), branch=branch)


BRANCH = WholeBranch((1,), ("y",), frozenset({0, 1}), (0,))


def test_guard_leaves_a_sound_budget_alone():
    assert guard([3, 0, 9], [group(10), group(4), group(12, 1)]) == [7, 4, 3]


def test_guard_never_empties_a_group():
    assert guard([10], [group(10)]) == [1]
    assert guard([10], [group(10)], min_channels=4) == [4]
    assert guard([3], [group(3)], min_channels=4) == [3]
    assert guard([10], [group(10, 6)], min_channels=4) == [6]
    assert guard([10], [group(10, 10)]) == [10]


def test_guard_lets_a_whole_branch_go_where_that_is_allowed():
    assert guard([10], [group(10, branch=BRANCH)]) == [1]
    assert guard([10], [group(10, branch=BRANCH)], min_channels=0) == [0]
    assert guard([10], [group(10)], min_channels=0) == [1]
    assert guard([7], [group(10, branch=BRANCH)], min_channels=0) == [3]


@settings(deadline=None, max_examples=50)
@given(st.data(), st.integers(1, 300), st.integers(1, 20))
def test_guard_holds(data, n, min_channels):
    drop = data.draw(st.integers(0, n))
    fixed = data.draw(st.integers(0, n))
    (kept,) = guard([drop], [group(n, fixed)], min_channels)
    assert kept == min(n, max(n - drop, 1, min_channels, fixed))
