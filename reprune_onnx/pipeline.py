"""`prune`: the whole machine as one straight function."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from reprune_onnx.activations.images import Images, calibration_images
from reprune_onnx.analyzer import Scope, analyze
from reprune_onnx.analyzer.functions import written_out
from reprune_onnx.model import load, save
from reprune_onnx.pruner.calibrate import layer_statistics
from reprune_onnx.pruner.choose import Knowledge, allocate, select_at, select_channels
from reprune_onnx.pruner.earlier import keep_by_cuts, read_report
from reprune_onnx.pruner.gamma import channel_gammas
from reprune_onnx.pruner.sensitivity.allocate import by_losses
from reprune_onnx.pruner.sensitivity.curves import measure_losses
from reprune_onnx.recovery import recover
from reprune_onnx.report.files import Destination
from reprune_onnx.report.record import PruneRecord, build_report, stamp, timing
from reprune_onnx.settings import Settings
from reprune_onnx.surgeon import cut
from reprune_onnx.types import ChannelMap, GammaSource, Model, Selection
from reprune_onnx.verification.cut import check, verify_cut

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Pruned:
    """The pruned model, and the report that is written beside it."""

    model: Model
    report: dict[str, object]


@dataclass
class Clock:
    """Seconds per stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Add the time of a ``with`` block to ``stage``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            passed = time.perf_counter() - start
            self.seconds[stage] = self.seconds.get(stage, 0.0) + passed


def prune(
    model: Model,
    settings: Settings,
    progress: Progress | None = None,
    clock: Clock | None = None,
) -> Pruned:
    """Choose channels, cut them out of ``model``, and prove the cut.

    ``progress(stage, done, total)`` is called as work proceeds. Raises a RepruneError where the
    model cannot be pruned as asked, and VerificationError where the cut cannot be proven; the
    result then never exists.
    """
    clock = clock or Clock()
    with clock("analyze"):
        plain = written_out(model)
        channels = analyze(plain, scope_of(settings))
    with clock("load"):
        images = None
        if settings.calibration is not None:
            images = calibration_images(plain.proto, settings)
    selection = _choose(plain, channels, settings, images, (progress, clock))
    with clock("cut"):
        # A model that loses nothing keeps its local functions too.
        source = model if selection.keep.all() else plain
        result = cut(source, channels, selection.keep)
    verification = None
    if settings.verify:
        with clock("verify"):
            verification = verify_cut(plain, channels, selection.keep, result.model, progress)
            check(verification)
    with clock("recover"):
        models = (plain, result.model)
        recovery = recover(models, channels, selection.keep, settings.recover, images, progress)
    result = replace(result, model=recovery.model)
    record = PruneRecord(model, channels, settings, selection, result, verification, recovery)
    stamped = stamp(record)
    return Pruned(stamped, build_report(record, stamped, clock.seconds))


def prune_file(
    source: Path, settings: Settings, destination: Destination, progress: Progress | None = None
) -> Pruned:
    """`prune` from file to file: nothing is written unless everything went well."""
    clock = Clock()
    with clock("load"):
        model = load(source)
    destination.protect(model.files)
    result = prune(model, settings, progress, clock)
    with clock("write"):
        if destination.model is not None:
            save(result.model, destination.model)
    result.report["seconds"] = timing(clock.seconds)
    destination.write_report(result.report)
    return result


def scope_of(settings: Settings) -> Scope:
    """What the settings allow to be pruned."""
    return Scope(
        residual=settings.residual,
        include=settings.include,
        exclude=settings.exclude,
        input_shapes=dict(settings.input_shapes),
    )


def _choose(
    model: Model,
    channels: ChannelMap,
    settings: Settings,
    images: Images | None,
    watch: tuple[Progress | None, Clock],
) -> Selection:
    progress, clock = watch
    if settings.keep is not None:
        with clock("select"):
            cuts = read_report(settings.keep).cuts
            return Selection(keep_by_cuts(channels, cuts, settings.keep.name), {}, {})
    with clock("allocate"):
        known, sources = _known(model, channels, settings, images, progress)
        kept, notes = allocate(channels, settings, known)
    with clock("select"):
        keep, choices = select_channels(channels, settings, kept, known, progress)
    return Selection(keep, choices, sources, tuple(notes))


def _known(
    model: Model,
    channels: ChannelMap,
    settings: Settings,
    images: Images | None,
    progress: Progress | None,
) -> tuple[Knowledge, dict[int, GammaSource]]:
    """What allocation and selection go by, and the source of |γ| per layer."""
    if images is None:
        gammas, sources = channel_gammas(channels, {})
        return Knowledge(gammas), sources
    energies = settings.coverage == "energy"
    found = layer_statistics(model, channels, images, energies, progress)
    gammas, sources = channel_gammas(channels, found.deviation)
    known = Knowledge(gammas, found.energy)
    if by_losses(settings) or settings.method == "reconstruction":
        at = select_at(channels, settings, known)
        known = replace(known, losses=measure_losses(model, channels, images, at, progress))
    return known, sources
