"""The ranges of the fields of settings, and what goes with what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reprune_onnx.activations.room import parse_size
from reprune_onnx.choices import Criterion, Measure, RecoveryMethod
from reprune_onnx.errors import UsageError
from reprune_onnx.options import flag

if TYPE_CHECKING:
    from reprune_onnx.settings import Settings

SHARES: dict[str, Measure] = {
    "macs_reduction": "macs",
    "params_reduction": "params",
    "latency_reduction": "latency",
}
_SHARE = ": it is a share, 0.5 for 50 %"
_LEAST = {"min_channels": 0, "round_to": 1, "calibration_size": 1, "distill_epochs": 1}
_MOST = 2**31
_MOST_JOBS = 2**15


def check_ranges(settings: Settings) -> None:
    """Raise UsageError for a field out of its range, or one that goes with another."""
    if settings.sparsity is not None and not 0 <= settings.sparsity < 1:
        raise UsageError(f"--sparsity {settings.sparsity:g} is outside [0, 1){_SHARE}")
    for name in SHARES:
        value = getattr(settings, name)
        if value is not None and not 0 < value < 1:
            raise UsageError(f"{flag(name)} {value:g} is outside (0, 1){_SHARE}")
    if settings.max_drop is not None and not 0 <= settings.max_drop < 100:
        raise UsageError(
            f"--max-drop {settings.max_drop:g} is outside [0, 100): it is in points of accuracy, 2"
            " for 2 %"
        )
    if settings.latency_table is not None and settings.latency_reduction is None:
        raise UsageError("--latency-table goes with --latency-reduction; give that too")
    for name, least in _LEAST.items():
        value = getattr(settings, name)
        if value is not None and not least <= value < _MOST:
            raise UsageError(
                f"{flag(name)} {value} must be at least {least}, and less than {_MOST:,}"
            )
    for glob, n in settings.layer:
        if n < 0:
            raise UsageError(f"--layer {glob}={n}: a number of channels is not negative")
    if settings.memory is not None:
        parse_size(settings.memory)
    check_jobs(settings.jobs)
    if settings.seed < 0:
        raise UsageError(f"--seed {settings.seed} must not be negative")


def check_jobs(jobs: int) -> None:
    """Raise UsageError for a number of processes that cannot be."""
    if jobs == 0 or abs(jobs) > _MOST_JOBS:
        raise UsageError(f"--jobs is a number of processes, or -1 for all cores; not {jobs}")


def check_images(settings: Settings) -> None:
    """Raise UsageError for what cannot be done without images, or with generated ones."""
    from reprune_onnx.data.generated.spec import is_generated  # imports numpy

    needs = {
        "method": ("reconstruction",),
        "coverage": ("energy",),
        "allocation": ("sensitivity",),
        "recover": ("batch-norm", "least-squares", "distill"),
    }
    if settings.max_drop is not None and settings.calibration is None:
        raise UsageError(
            "--max-drop needs images to measure the drop on: give some hundreds with"
            " --calibration (with labels for accuracy, without for agreement)"
        )
    if settings.max_drop is not None and is_generated(settings.calibration):
        raise UsageError(
            "--max-drop cannot be measured on generated images: nobody knows what is right on"
            " them, and a model agrees with its original there more or less than on its own"
            " images; give own images with --calibration, or ask for --macs-reduction"
        )
    if settings.then is not None and settings.calibration is None and settings.recover != "auto":
        raise UsageError(
            "--then int8 measures ranges on images: give some hundreds, without labels, with"
            " --calibration (or generated, or leave --recover out)"
        )
    if settings.then is not None and settings.task == "detection":
        _check_detections(settings)
    for name, values in needs.items():
        value = getattr(settings, name)
        if settings.calibration is None and (value in values or _looks(value)):
            raise UsageError(
                f"--{name} {value} needs images: give some hundreds, without"
                " labels, with --calibration"
            )


def check_search(settings: Settings) -> None:
    """Raise UsageError for a search that has no time, or nothing to search."""
    if settings.search is None:
        return
    if not 0 < settings.search < _MOST:
        raise UsageError(f"--search {settings.search:g}: it is a number of seconds, such as 300")
    if settings.calibration is None:
        raise UsageError(
            "--search compares outputs on images: give some hundreds, without labels, with"
            " --calibration (or generated)"
        )
    reduction = settings.reduction
    if reduction is None or reduction.measure == "latency":
        given = flag(next(iter(settings.requested), "keep"))
        raise UsageError(
            f"--search goes with --macs-reduction, --params-reduction or --sparsity, not {given}"
        )
    if settings.allocation not in ("auto", "sensitivity"):
        raise UsageError(
            f"--search starts from losses: --allocation sensitivity, not {settings.allocation}"
        )


def _check_detections(settings: Settings) -> None:
    """Raise UsageError where detections would be counted on images that show nothing."""
    from reprune_onnx.data.generated.spec import is_generated

    if settings.calibration is None or is_generated(settings.calibration):
        raise UsageError(
            "--task detection counts what is detected on images of your own: give some hundreds,"
            " without labels, with --calibration"
        )


def _looks(row: object) -> bool:
    """Whether a criterion or a recovery method of the user's needs images."""
    if isinstance(row, Criterion):
        return row.needs == "losses"
    return isinstance(row, RecoveryMethod) and row.needs_images
