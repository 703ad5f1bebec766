"""Several things measured in turns, so that a machine that becomes slower does so for all."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from reprune_onnx.types import Floats


@dataclass(frozen=True)
class Turns:
    """The time of a measurement: ``seconds`` in ``fewest`` to ``most`` rounds, after ``warm_up``.

    The first runs prepare memory and settle caches: there are two of each at least, and they are
    not counted. ``warm_up`` is in seconds, which ``clock`` tells.
    """

    seconds: float
    fewest: int
    most: int
    warm_up: float = 0.0
    clock: Callable[[], float] = time.perf_counter


def in_turns(runs: Sequence[Callable[[], object]], turns: Turns) -> Floats:
    """Return the seconds of every run (rounds, len(runs)); in every round each runs once.

    Each round starts with another one, so that none always follows the same neighbour.
    """
    first = [_warm_up(run, turns, len(runs)) for run in runs]
    rounds = int(np.clip(turns.seconds / max(sum(first), 1e-9), turns.fewest, turns.most))
    times = np.empty((rounds, len(runs)))
    for k in range(rounds):
        for j in range(len(runs)):
            i = (j + k) % len(runs)
            times[k, i] = _seconds(runs[i], turns)
    return times


def _warm_up(run: Callable[[], object], turns: Turns, runs: int) -> float:
    """The longer of the last two runs."""
    times = [_seconds(run, turns), _seconds(run, turns)]
    while sum(times) < turns.warm_up / runs:
        times.append(_seconds(run, turns))
    return max(times[-2:])


def _seconds(run: Callable[[], object], turns: Turns) -> float:
    start = turns.clock()
    run()
    return turns.clock() - start
