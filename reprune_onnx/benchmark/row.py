"""From the times of single runs to what is said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from reprune_onnx.note import Note
from reprune_onnx.types import Floats

NOISY = 0.1
"""The interquartile range, of the median, above which a measurement is called noisy."""


def row(name: str, batch: int, seconds: Floats, first: Floats | None) -> dict[str, Any]:
    """Return a row of the result, from ``seconds`` (rounds,) of one run each.

    ``first`` are the times (rounds,) of the first model in the same rounds: the speedup is the
    median of the quotients round by round, so that what slows down a round slows down both.
    """
    ms = 1e3 * seconds
    quartiles = np.percentile(ms, (25, 50, 75))
    median, iqr = float(quartiles[1]), float(quartiles[2] - quartiles[0])
    return {
        "model": name,
        "batch_size": batch,
        "images_per_s": _rounded(1e3 * batch / median),
        "latency_ms": {
            "median": _rounded(median),
            "p90": _rounded(float(np.percentile(ms, 90))),
            "iqr": _rounded(iqr),
            "min": _rounded(float(ms.min())),
        },
        "speedup": None if first is None else _rounded(float(np.median(first / seconds))),
        "noisy": iqr > NOISY * median,
        "runs": [_rounded(float(t)) for t in ms],
    }


def warning(rows: Sequence[Mapping[str, Any]]) -> list[Note]:
    """The warning about those of the rows that are noisy, if there are any."""
    noisy = [measured for measured in rows if measured["noisy"]]
    if not noisy:
        return []
    worst = max(noisy, key=_spread)
    return [
        Note(
            f"noisy: {len(noisy)} of {len(rows)} rows; the runs of '{worst['model']}' at batch size"
            f" {worst['batch_size']} have an interquartile range of {_spread(worst):.0%} of their"
            " median: stop what else runs here, and measure again"
        )
    ]


def _spread(measured: Mapping[str, Any]) -> float:
    latency = measured["latency_ms"]
    return float(latency["iqr"] / latency["median"])


def _rounded(value: float) -> float:
    """Five significant digits."""
    return float(f"{value:.5g}")
