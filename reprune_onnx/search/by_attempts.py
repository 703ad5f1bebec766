"""``--search SECONDS``: numbers of channels by what they leave of the outputs, in several attempts.

Every attempt is cut and recovered on two thirds of the images, and its error is measured on the
others: that of the outputs relative to their variance, or with a ``--task`` 1 less the agreement
with the original. The first attempt is the allocation that is made without a search, so that the
result is never worse on these images. The next ones let late errors count less, as long as that
helps. After that, what each group's loss is worth is learned (`coefficients`). The attempt of least
error is taken.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from reprune_onnx.choices import Reduction
from reprune_onnx.errors import DataError
from reprune_onnx.note import Note
from reprune_onnx.recovery.output_error import output_error
from reprune_onnx.results import Attempt, Losses, Measured, Recovery, SearchResult
from reprune_onnx.search.coefficients import Coefficients
from reprune_onnx.search.score import score_of, title
from reprune_onnx.settings import Settings
from reprune_onnx.types import Floats
from reprune_onnx.watch import Progress

_MOST = 1000  # attempts
_LESS, _EARLIEST = 1 / 3, 0.05  # times what a late error counted before; where that ends
_REPEATED = 8  # draws in a row that lead to attempts made before: nothing is left to learn

WeighedAttempt = Callable[[Reduction, None, Mapping[int, float]], Attempt]


def by_attempts(
    measured: Measured,
    settings: Settings,
    attempt: WeighedAttempt,
    recovered: Callable[[Attempt], Recovery],
    progress: Progress | None = None,
) -> SearchResult:
    """Return the attempt of least error that ``settings.search`` seconds of this machine find.

    No attempt is begun that would probably not end in time, but for the first two. Raises DataError
    where the outputs do not vary, or differ in shape from image to image, and ModelError where the
    model is none of ``settings.task``.
    """
    assert settings.search is not None
    assert settings.reduction is not None
    judge = _judge(measured, settings)
    losses, wanted = measured.knowledge.losses, settings.reduction
    assert losses is not None  # `check_search`
    rng = np.random.default_rng([settings.seed, 0])
    groups = sorted(losses.error)
    depth = _depths(measured, groups)
    weights, by_depth, late = np.ones(len(groups)), True, 1.0
    known: Coefficients | None = None
    errors: dict[bytes, float] = {}
    best: tuple[float, Attempt] | None = None
    repeated = 0
    start = time.monotonic()
    longest = 0.0
    while len(errors) < _MOST and repeated < _REPEATED:
        begun = time.monotonic()
        if len(errors) > 1 and begun - start + longest > settings.search:
            break
        tried = attempt(wanted, None, dict(zip(groups, weights.tolist(), strict=True)))
        key = tried.selection.keep.tobytes()
        if key in errors:
            repeated += 1
        else:
            repeated = 0
            errors[key] = error = judge.error(tried, recovered(tried))
            by_depth &= best is None or error < best[0]
            if best is None or error < best[0]:
                best = error, tried
            lost = _losses(measured, losses, tried, groups)
            known = (known or Coefficients.first(lost, error)).learned(lost, error)
            longest = max(longest, time.monotonic() - begun)
            if progress is not None:
                total = max(1, round(settings.search))
                progress("searching", min(total, round(time.monotonic() - start)), total)
        assert known is not None
        by_depth &= late > _EARLIEST
        late *= _LESS
        weights = late**depth if by_depth else known.drawn(rng)
    assert best is not None
    assert measured.held_out is not None
    n, first, least = measured.held_out.n, next(iter(errors.values())), best[0]
    details = {
        "attempts": len(errors),
        "images": n,
        "measure": judge.measure,
        "error_first": first,
        "error": least,
    }
    note = Note(
        f"{len(errors)} attempts were made: {judge.said} on {n} images that none was fitted to is"
        f" {judge.shown(first)} after the first, {judge.shown(least)} after the best"
    )
    return SearchResult(best[1], details={"search": details}, notes=(note,))


def weighed(losses: Losses | None, weights: Mapping[int, float]) -> Losses | None:
    """Return the losses with each group's counted ``weights[g.id]`` times."""
    if losses is None or not weights:
        return losses
    error = {g: curve * weights.get(g, 1.0) for g, curve in losses.error.items()}
    return replace(losses, error=error)


def _depths(measured: Measured, groups: list[int]) -> Floats:
    """The place (groups,) of each group's first layer among all layers, from 0 to 1."""
    channels = measured.subject.channels
    nodes = sorted(layer.node for layer in channels.layers)
    first = {g.id: min(p.layer.node for p in g.producers) for g in channels.groups if g.producers}
    places = [nodes.index(first.get(g, nodes[0])) for g in groups]
    return np.array(places) / max(1, len(nodes) - 1)


@dataclass(frozen=True)
class _Judge:
    """The ``error`` of attempts, which is ``shown`` in a sentence as what is ``said``.

    ``measure`` is that of a task; None for the error of the outputs.
    """

    error: Callable[[Attempt, Recovery], float]
    said: str
    shown: Callable[[float], str]
    measure: str | None = None


def _judge(measured: Measured, settings: Settings) -> _Judge:
    held = measured.held_out
    assert held is not None  # `Settings.holds_out`

    def by_outputs(tried: Attempt, recovery: Recovery) -> float:
        del tried
        error = output_error(measured.subject.flat, recovery.model, held)
        if error is None:
            raise DataError(
                "--search compares outputs, and those of this model do not vary on the images, or"
                " differ in shape from one to the next: leave --search out"
            )
        return error

    def by_task(tried: Attempt, recovery: Recovery) -> float:
        return 1 - score_of(tried, recovery, measured, settings) / 100

    if settings.task == "classification":
        return _Judge(
            by_outputs, "the error of the outputs", lambda e: f"{e:.2g} of their variance"
        )
    measure = title(held, settings)
    return _Judge(by_task, measure, lambda e: f"{100 * (1 - e):.1f}", measure)


def _losses(measured: Measured, losses: Losses, tried: Attempt, groups: list[int]) -> Floats:
    """The loss (groups,) of each group by the curves."""
    units = {g.id: g.units for g in measured.subject.channels.groups}
    kept = [int(tried.selection.keep[units[g]].sum()) for g in groups]
    return np.array([losses.error[g][k] for g, k in zip(groups, kept, strict=True)])
