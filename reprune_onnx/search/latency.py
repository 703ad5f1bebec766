"""The model that takes so much less time."""

from __future__ import annotations

import numpy as np

from reprune_onnx.choices import Reduction
from reprune_onnx.errors import OutOfReachError
from reprune_onnx.latency.measure import measure_layers
from reprune_onnx.latency.table import LatencyTable, read_table
from reprune_onnx.latency.whole import latencies
from reprune_onnx.prepared import Attempt, Prepared
from reprune_onnx.pruner.aim import Aim
from reprune_onnx.pruner.allocate.reach import out_of_reach
from reprune_onnx.pruner.multilinear import multilinear
from reprune_onnx.search.result import SearchResult

_NEAR = 0.01  # of the original's latency
_ROUNDING = 1e-9


def at_latency(job: Prepared, share: float) -> SearchResult:
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
        return SearchResult(attempt, {"latency_reduction": _estimate(job, attempt)}, notes=(note,))
    with job.watch.stage("allocate"):
        (whole,) = latencies([job.plain], job.channels.input_shapes)
        table = measure_layers(job.channels, whole, job.watch.progress)
    return _measured(job.timed(table.fitted(job.channels)), share, table)


def _measured(job: Prepared, share: float, table: LatencyTable) -> SearchResult:
    """Attempts that are measured, until one is near; SelectionError where not even the most is.

    What the layers say can go is an estimate as well: where it is less than what is asked of them,
    the most that can go is measured, and that decides.
    """
    aim = Aim[tuple[Attempt, list[float]]](share, near=_NEAR)
    while (asked := aim.next()) is not None:
        try:
            attempt = job.attempt(Reduction("latency", asked))
        except OutOfReachError as error:
            if not 0 < error.most < aim.most:
                raise
            aim.most = error.most - _ROUNDING
            continue
        with job.watch.stage("allocate"):
            models = [job.plain, attempt.cut.model]
            before, after = latencies(models, job.channels.input_shapes)
        aim.add(asked, 1 - after / before, (attempt, [before, after]))
    furthest = max(reached for _, reached, _ in aim.tried)
    if furthest < share - _NEAR and any(asked == aim.most for asked, _, _ in aim.tried):
        wanted, multiple = Reduction("latency", share), job.settings.rounding.multiple
        raise out_of_reach(wanted, furthest, job.settings, multiple, " (measured)")
    attempt, (before, after) = aim.best()
    details = {"before_ms": before, "after_ms": after} | table.as_json()
    notes: tuple[str, ...] = ()
    if job.settings.round_to is None and job.settings.target is None:
        notes = (
            f"widths are multiples of {job.settings.rounding.multiple}, as ONNX Runtime computes"
            " that many channels at once: others take longer; --round-to 1 allows any",
        )
    return SearchResult(
        attempt, {"latency_reduction": 1 - after / before}, {"latency": details}, notes
    )


def _estimate(job: Prepared, attempt: Attempt) -> float:
    """The reduction that the table states for an attempt."""
    groups = [g for g in job.channels.groups if g.free.any()]
    cost = multilinear(job.channels, groups, "latency", job.known.times)
    kept = np.array([int(attempt.selection.keep[g.units].sum()) for g in groups])
    return 1 - cost(kept) / cost(np.array([g.n for g in groups]))
