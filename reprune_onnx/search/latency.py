"""The model that takes so much less time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from reprune_onnx.choices import Reduction
from reprune_onnx.errors import ModelError, OutOfReachError
from reprune_onnx.latency.measure import measure_layers
from reprune_onnx.latency.models import latencies
from reprune_onnx.latency.table import read_table
from reprune_onnx.note import Note
from reprune_onnx.pruner.allocate.multilinear import multilinear
from reprune_onnx.pruner.allocate.reach import out_of_reach
from reprune_onnx.results import Attempt, LayerTime, SearchResult, Subject
from reprune_onnx.search.share_search import ShareSearch
from reprune_onnx.settings import Settings
from reprune_onnx.watch import Watch

TimedAttempt = Callable[[Reduction, Mapping[int, LayerTime]], Attempt]

_NEAR = 0.01  # of the original's latency
_ROUNDING = 1e-9


def at_latency(
    subject: Subject, share: float, settings: Settings, attempt: TimedAttempt, watch: Watch
) -> SearchResult:
    """Find the attempt whose latency is nearest to ``1 - share`` of the original's.

    Channels are allocated by the times of single layers. With ``settings.latency_table`` these, of
    whatever device, are all there is: what is reached is an estimate. Without, layers and models
    are measured in ONNX Runtime on this machine, and where the model as a whole turns out faster or
    slower than its layers, the next attempt is corrected by the difference.
    """
    if subject.quantized is not None:
        raise ModelError(
            "--latency-reduction goes by the times of layers in floating point, and the model is"
            " quantized: give --macs-reduction, or prune the float model it was made from"
        )
    if settings.latency_table is not None:
        return _by_table(subject, share, settings.latency_table, attempt)
    return _measured(subject, share, settings, attempt, watch)


def _by_table(subject: Subject, share: float, path: Path, attempt: TimedAttempt) -> SearchResult:
    times = read_table(path).fitted(subject.channels)
    nearest = attempt(Reduction("latency", share), times)
    reached = {"latency_reduction": _estimate(subject, nearest, times)}
    note = Note(f"the latency is estimated from '{path.name}', not measured")
    return SearchResult(nearest, reached=reached, notes=(note,))


def _measured(
    subject: Subject, share: float, settings: Settings, attempt: TimedAttempt, watch: Watch
) -> SearchResult:
    """Attempts that are measured, until one is near; SelectionError where not even the most is.

    What the layers say can go is an estimate as well: where it is less than what is asked of them,
    the most that can go is measured, and that decides.
    """
    channels = subject.channels
    with watch.stage("allocate"):
        (seconds,) = latencies([subject.flat], channels.input_shapes)
        table = measure_layers(subject.graph, channels, seconds, watch.progress)
    times = table.fitted(channels)
    search = ShareSearch[tuple[Attempt, list[float]]](share, near=_NEAR)
    while (asked := search.next()) is not None:
        try:
            tried = attempt(Reduction("latency", asked), times)
        except OutOfReachError as error:
            if not 0 < error.most < search.most:
                raise
            search.most = error.most - _ROUNDING
            continue
        with watch.stage("allocate"):
            models = [subject.flat, tried.cut.model]
            before, after = latencies(models, channels.input_shapes)
        search.add(asked, 1 - after / before, (tried, [before, after]))
    furthest = max(reached for _, reached, _ in search.tried)
    if furthest < share - _NEAR and any(asked == search.most for asked, _, _ in search.tried):
        wanted, multiple = Reduction("latency", share), settings.rounding.multiple
        groups = subject.channels.groups
        raise out_of_reach(wanted, furthest, settings, groups, multiple, " (measured)")
    nearest, (before, after) = search.best()
    details = {"before_ms": before, "after_ms": after} | table.as_json()
    notes: tuple[Note, ...] = ()
    if settings.round_to is None and settings.target is None:
        notes = (
            Note(
                f"widths are multiples of {settings.rounding.multiple}, as ONNX Runtime computes"
                " that many channels at once: others take longer; --round-to 1 allows any"
            ),
        )
    reached = {"latency_reduction": 1 - after / before}
    return SearchResult(nearest, reached=reached, details={"latency": details}, notes=notes)


def _estimate(subject: Subject, attempt: Attempt, times: Mapping[int, LayerTime]) -> float:
    """The reduction that the times of layers state for an attempt."""
    groups = [g for g in subject.channels.groups if g.free.any()]
    cost = multilinear(subject.graph, subject.channels, groups, "latency", times)
    kept = np.array([int(attempt.selection.keep[g.units].sum()) for g in groups])
    return 1 - cost(kept) / cost(np.array([g.n for g in groups]))
