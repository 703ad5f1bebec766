"""The smallest model that loses no more than so many points of accuracy."""

from __future__ import annotations

from collections.abc import Callable

from reprune_onnx.activations.images import HELD_OUT
from reprune_onnx.choices import Reduction
from reprune_onnx.errors import DataError, SelectionError
from reprune_onnx.results import Attempt, Measured, Recovery, SearchResult
from reprune_onnx.search.score import score, score_of, title
from reprune_onnx.settings import Settings
from reprune_onnx.watch import Progress

_LEVELS = 100  # shares of the MACs are tried in steps of 1 %
_FEWEST = 50  # images to measure on


def within_drop(
    measured: Measured,
    settings: Settings,
    attempt: Callable[[Reduction], Attempt],
    recovered: Callable[[Attempt], Recovery],
    progress: Progress | None = None,
) -> SearchResult:
    """Find the largest reduction of MACs that loses at most ``max_drop`` points, in steps of 1 %.

    What is lost is accuracy, where the images have labels, else agreement with the original, as
    ``settings.task`` has it. It is measured after recovery, on every third batch of the calibration
    images, to which nothing was fitted. The search takes the loss to grow with the reduction.
    Raises SelectionError where even 1 % loses more, and ModelError where the model is none of that
    task.
    """
    held, subject = measured.held_out, measured.subject
    if held is None or held.n < _FEWEST:
        raise DataError(
            f"--max-drop measures on a third of the calibration images, which is"
            f" {held.n if held is not None else 0}: give at least {HELD_OUT * _FEWEST}, better a"
            " thousand (--calibration, --calibration-size)"
        )
    assert settings.max_drop is not None
    before = score(subject.model, subject.model, held, settings)
    low, high = 0, _LEVELS
    best: tuple[Attempt, Recovery] | None = None
    after = least = before
    for step in range(_LEVELS):
        if high - low <= 1:
            break
        middle = (low + high) // 2
        try:
            tried = attempt(Reduction("macs", middle / _LEVELS))
            recovery = recovered(tried)
        except SelectionError:
            if middle == 1:
                raise
            high = middle
            continue
        reached = score_of(tried, recovery, measured, settings)
        if before - reached <= settings.max_drop:
            low, best, after = middle, (tried, recovery), reached
        else:
            high, least = middle, reached
        if progress is not None:
            progress("searching", step + 1, _LEVELS.bit_length())
    measure = title(held, settings)
    if best is None:
        raise SelectionError(
            f"even {high / _LEVELS:.0%} fewer MACs lose {before - least:.2f} points of {measure} on"
            f" {held.n} held-out images; allow more with --max-drop, or give more images"
        )
    details = {"measure": measure, "images": held.n, "before": before, "after": after}
    reached_drop = {"max_drop": before - after}
    return SearchResult(*best, reached=reached_drop, details={"drop": details})
