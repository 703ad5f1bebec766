"""The model that takes so much less time."""

from __future__ import annotations

import numpy as np

from reprune_onnx.errors import OutOfReachError
from reprune_onnx.latency.measure import measure_layers
from reprune_onnx.latency.table import LatencyTable, read_table
from reprune_onnx.latency.whole import latencies
from reprune_onnx.prepared import Attempt, Prepared
from reprune_onnx.pruner.allocate.reach import out_of_reach
from reprune_onnx.pruner.multilinear import multilinear
from reprune_onnx.search.found import Found
from reprune_onnx.types import Reduction

_TRIES = 6
_NEAR = 0.01  # of the original's latency
_LEAST, _MOST = 0.001, 0.999  # what single layers are asked for
_ROUNDING = 1e-9


def at_latency(job: Prepared, share: float) -> Found:
    """Find the attempt whose latency is nearest to ``1 - share`` of the original's.

    Channels are allocated by the times of single layers. With ``settings.latency_table`` these, of
    whatever device, are all there is: what is reached is an estimate. Without, layers and models
    are measured in ONNX Runtime on this machine, and where the model as a whole turns out faster or
    slower than its layers, the next attempt is corrected by the difference.
    """
    path = job.settings.latency_table
    if path is not None:
        table = read_table(path)
        job = job.timed(table.fitted(job.channels))
        attempt = job.attempt(Reduction("latency", share))
        note = f"the latency is estimated from '{path.name}', not measured"
        return Found(attempt, {"latency_reduction": _estimate(job, attempt)}, notes=(note,))
    with job.watch.stage("allocate"):
        (whole,) = latencies([job.plain], job.channels.input_shapes)
        table = measure_layers(job.channels, whole, job.watch.progress)
    return _measured(job.timed(table.fitted(job.channels)), share, table)


def _measured(job: Prepared, share: float, table: LatencyTable) -> Found:
    """Attempts that are measured, until one is near; SelectionError where not even the most is.

    What the layers say can go is an estimate as well: where it is less than what is asked of them,
    the most that can go is measured, and that decides.
    """
    asked, most = share, _MOST
    tried: list[tuple[float, Attempt, float, float]] = []
    while len(tried) < _TRIES:
        try:
            attempt = job.attempt(Reduction("latency", min(max(asked, _LEAST), most)))
        except OutOfReachError as error:
            if error.most >= most or error.most < _LEAST:
                raise
            most = error.most - _ROUNDING
            continue
        with job.watch.stage("allocate"):
            models = [job.plain, attempt.cut.model]
            before, after = latencies(models, job.channels.input_shapes)
        reached = 1 - after / before
        tried.append((reached, attempt, before, after))
        if abs(reached - share) <= _NEAR:
            break
        if asked >= most and reached < share:
            furthest = max(found[0] for found in tried)
            if furthest < share - _NEAR:
                wanted = Reduction("latency", share)
                raise out_of_reach(wanted, furthest, job.settings, how=" (measured)")
            break
        asked = min(asked, most) + share - reached
    reached, attempt, before, after = min(tried, key=lambda found: abs(found[0] - share))
    details = {"before_ms": before, "after_ms": after} | table.as_json()
    return Found(attempt, {"latency_reduction": reached}, {"latency": details})


def _estimate(job: Prepared, attempt: Attempt) -> float:
    """The reduction that the table states for an attempt."""
    groups = [g for g in job.channels.groups if g.free.any()]
    cost = multilinear(job.channels, groups, "latency", job.known.times)
    kept = np.array([int(attempt.selection.keep[g.units].sum()) for g in groups])
    return 1 - cost(kept) / cost(np.array([g.n for g in groups]))
