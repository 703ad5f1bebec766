"""Widths that suit a device: which there are, and which are nearest within a budget."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprune_onnx.pruner.allocate import nearest_within
from reprune_onnx.pruner.allocate.multilinear import Multilinear
from reprune_onnx.rounding import Rounding


def channels(n_groups):
    """The cost that counts channels."""
    return Multilinear(np.ones(1), np.zeros((1, 1)), np.ones((1, 1, n_groups)))


@pytest.mark.parametrize(
    ("rounding", "n", "least", "choices"),
    [
        (Rounding(), 4, 1, [1, 2, 3, 4]),
        (Rounding(8), 32, 1, [8, 16, 24, 32]),
        (Rounding(8), 12, 9, [12]),
        (Rounding(8), 6, 1, [6]),  # no multiple fits: it stays whole
        (Rounding(8), 64, 17, [24, 32, 40, 48, 56, 64]),
        (Rounding(16), 4, 9, [4]),
        (Rounding(32, narrow=8), 63, 1, [8, 16, 24, 32, 40, 48, 56, 63]),
        (Rounding(32, narrow=8), 64, 1, [32, 64]),
        (Rounding(32, narrow=8), 6, 1, [6]),
    ],
)
def test_the_widths_a_layer_may_have(rounding, n, least, choices):
    assert rounding.choices(n, least).tolist() == choices


@pytest.mark.parametrize(
    ("kept", "budget", "nearest"),
    [
        ([34, 60], 94, [32, 56]),  # 60 lies between 56 and 64: the budget has room for neither
        ([34, 60], 96, [32, 64]),
        ([38, 60], 98, [40, 56]),  # 38 has lost more of its step
        ([64, 48], 0, [64, 48]),  # what suits already stays
        ([3, 64], 67, [8, 64]),  # no layer is deleted
    ],
)
def test_the_nearest_multiples_within_a_budget(kept, budget, nearest):
    choices = [Rounding(8).choices(64, 1)] * 2
    assert nearest_within(np.array(kept), choices, channels(2), budget).tolist() == nearest


@settings(deadline=None, max_examples=200)
@given(
    st.data(), st.lists(st.integers(1, 200), min_size=1, max_size=5), st.sampled_from([2, 8, 16])
)
def test_rounding_takes_a_step_at_most_and_keeps_to_the_budget(data, n, multiple):
    kept = np.array([data.draw(st.integers(1, k)) for k in n])
    choices = [Rounding(multiple).choices(k, 1) for k in n]
    cost, budget = channels(len(n)), data.draw(st.integers(0, sum(n)))
    nearest = nearest_within(kept, choices, cost, budget)
    down = []
    for allowed, k, new in zip(choices, kept, nearest, strict=True):
        down.append(max([v for v in allowed if v <= k], default=allowed[0]))
        assert new in (down[-1], min([v for v in allowed if v >= k], default=allowed[-1]))
    assert cost(nearest) <= budget or nearest.tolist() == down
