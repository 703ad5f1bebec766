"""Runs in turns, and what is said of their times."""

from functools import partial

import numpy as np
import pytest

from reprune_onnx.benchmark.row import row, warning
from reprune_onnx.latency.interleaved import Turns, in_turns


@pytest.fixture
def clock():
    """A clock that moves only when a run says so."""
    return [0.0]


def test_all_take_part_in_every_round_and_none_always_comes_first(clock):
    order: list[int] = []

    def run(k: int) -> None:
        order.append(k)
        clock[0] += k + 1

    times = in_turns([partial(run, k) for k in range(3)], Turns(1, 3, 9, clock=lambda: clock[0]))
    assert order[:6] == [0, 0, 1, 1, 2, 2], "the first runs are not counted"
    assert order[6:] == [0, 1, 2, 1, 2, 0, 2, 0, 1]
    assert times.tolist() == [[1, 2, 3]] * 3


@pytest.mark.parametrize(("seconds", "rounds"), [(1, 4), (60, 10), (1000, 12)])
def test_rounds_follow_from_the_time_that_there_is(clock, seconds, rounds):
    def run() -> None:
        clock[0] += 3

    plan = Turns(seconds, fewest=4, most=12, warm_up=30, clock=lambda: clock[0])
    assert in_turns([run, run], plan).shape == (rounds, 2)


def test_a_row_is_what_the_times_say():
    seconds = np.array([0.010, 0.012, 0.014, 0.011, 0.013])
    result = row("m.onnx", 8, seconds, 3 * seconds)
    assert result["latency_ms"] == {"median": 12, "p90": 13.6, "iqr": 2, "min": 10}
    assert result["images_per_s"] == pytest.approx(8 / 0.012, rel=1e-4)
    assert result["speedup"] == 3
    assert result["runs"] == [10, 12, 14, 11, 13]
    assert result["noisy"]
    assert (
        "noisy: 1 of 2 rows; the runs of 'm.onnx' at batch size 8"
        in warning([result, row("n.onnx", 8, np.full(5, 0.01), None)])[0]
    )


def test_a_machine_that_slows_down_leaves_the_speedup_as_it_is():
    times = np.linspace(1.0, 5.0, 41)
    result = row("m.onnx", 1, times, 2 * times)
    assert result["noisy"]
    assert result["speedup"] == 2


def test_a_steady_row_is_not_noisy():
    result = row("m.onnx", 1, np.full(20, 0.004), None)
    assert not result["noisy"]
    assert result["speedup"] is None
    assert warning([result]) == []
