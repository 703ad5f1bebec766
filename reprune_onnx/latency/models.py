"""The latency of whole models, measured side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from reprune_onnx.latency.interleaved import Turns, in_turns
from reprune_onnx.precision import as_float32
from reprune_onnx.runtime.ort import Session
from reprune_onnx.runtime.random_inputs import random_inputs
from reprune_onnx.types import Model

_TURNS = Turns(seconds=2.0, fewest=5, most=200)


def latencies(models: Sequence[Model], shapes: Mapping[str, tuple[int, ...]]) -> list[float]:
    """Return each model's time for one run in ms, the median, in ONNX Runtime on all cores."""
    sessions = [Session(as_float32(m.proto), optimize=True, use="in turns") for m in models]
    feeds = [random_inputs(s.inputs, shapes, np.random.default_rng(0)) for s in sessions]
    for session, values in zip(sessions, feeds, strict=True):
        session.run(values)  # Ctrl-C stops this one, should it have no end
    runs = [s.bind(values).run for s, values in zip(sessions, feeds, strict=True)]
    return [float(t) for t in 1e3 * np.median(in_turns(runs, _TURNS), axis=0)]
