"""The latency of whole models, measured side by side."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np

from reprune_onnx.precision import as_float32
from reprune_onnx.runtime.ort import Session
from reprune_onnx.runtime.random_inputs import random_inputs
from reprune_onnx.types import Model

_SECONDS = 2.0  # of measuring, for all models together
_FEWEST, _MOST = 5, 200  # runs of each


def latencies(models: Sequence[Model], shapes: Mapping[str, tuple[int, ...]]) -> list[float]:
    """Return each model's time for one run in ms, the median, in ONNX Runtime on all cores.

    The models take turns, so that a machine that becomes slower does so for all of them.
    """
    sessions = [Session(as_float32(m.proto), optimize=True) for m in models]
    feeds = [random_inputs(s.inputs, shapes, np.random.default_rng(0)) for s in sessions]

    def run(k: int) -> float:
        start = time.perf_counter()
        sessions[k].run(feeds[k])
        return time.perf_counter() - start

    order = range(len(models))
    first = [max(run(k), run(k)) for k in order]  # the first runs prepare memory
    rounds = int(np.clip(_SECONDS / sum(first), _FEWEST, _MOST))
    times = np.array([[run(k) for k in order] for _ in range(rounds)])
    return [float(t) for t in 1e3 * np.median(times, axis=0)]
