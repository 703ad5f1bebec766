"""A model with all that is known of its channels, before it is decided how many go."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from reprune_onnx.activations.images import Images, images_to_fit
from reprune_onnx.activations.measurable import measurable, told
from reprune_onnx.analyzer import Scope, analyze
from reprune_onnx.analyzer.functions import written_out
from reprune_onnx.choices import Reduction
from reprune_onnx.errors import KernelError, SelectionError
from reprune_onnx.order import in_order
from reprune_onnx.pruner.aim import Aim
from reprune_onnx.pruner.allocation import allocate
from reprune_onnx.pruner.calibrate import layer_statistics
from reprune_onnx.pruner.earlier import earlier_report, keep_by_cuts, report_name
from reprune_onnx.pruner.gamma import channel_gammas
from reprune_onnx.pruner.knowledge import Knowledge
from reprune_onnx.pruner.layer_time import LayerTime
from reprune_onnx.pruner.measure import reduction
from reprune_onnx.pruner.select import criterion
from reprune_onnx.pruner.selection import select_at, select_channels
from reprune_onnx.pruner.sensitivity.allocate import by_losses
from reprune_onnx.pruner.sensitivity.curves import measure_losses
from reprune_onnx.recovery import Recovery, recover
from reprune_onnx.results import Cut
from reprune_onnx.runtime.tail import Tail, find_tail
from reprune_onnx.settings import Settings
from reprune_onnx.surgeon import cut
from reprune_onnx.types import ChannelMap, GammaSource, Model, Selection
from reprune_onnx.watch import Watch


@dataclass(frozen=True)
class Attempt:
    """A selection and what it leaves of the model; recovered, where that was done already."""

    selection: Selection
    cut: Cut
    recovery: Recovery | None = None


@dataclass(frozen=True)
class Prepared:
    """What every attempt at a model shares.

    ``source`` is the file, and ``model`` what of it is pruned: all, or what stands before its
    ``tail``. ``plain`` is that without local functions, which ``channels`` describes. Of the
    calibration images ``images`` are fitted to; ``held_out`` are not, where a drop has to be
    measured.
    """

    source: Model
    model: Model
    plain: Model
    channels: ChannelMap
    settings: Settings
    known: Knowledge
    gamma_source: dict[int, GammaSource]
    images: Images | None
    held_out: Images | None
    watch: Watch
    tail: Tail | None = None

    def attempt(self, wanted: Reduction) -> Attempt:
        """Choose channels so that as much goes as is wanted, and cut the rest out.

        Where some layers have more of a group's channels than others, what a number of channels
        costs depends on which they are. Then a little more or less is asked for, until what is
        wanted is reached.
        """
        aim = Aim[Selection](wanted.share, at_least=bool(self.settings.rounding))
        while (share := aim.next()) is not None:
            try:
                selection, expected = self._select(replace(wanted, share=share))
            except SelectionError:
                if not aim.tried:
                    raise
                break
            reached = reduction(self.channels, selection.keep, wanted.measure)
            aim.add(share, expected if reached is None else reached, selection, expected)
        return self._cut(aim.best())

    def _select(self, wanted: Reduction) -> tuple[Selection, float]:
        watch = self.watch
        with watch.stage("allocate"):
            allocated = allocate(self.channels, self.settings, self.known, wanted)
        with watch.stage("select"):
            keep, choices = select_channels(
                self.channels, self.settings, allocated.kept, self.known, watch.progress
            )
        notes = tuple(allocated.notes)
        selection = Selection(keep, choices, self.gamma_source, notes, allocated.unrounded)
        return selection, allocated.expected

    def again(self) -> Attempt:
        """Cut what the report ``settings.keep`` has cut."""
        report = self.settings.keep
        assert report is not None
        with self.watch.stage("select"):
            cuts = earlier_report(report, "keep").cuts
            title = Path(report_name(report, "keep")).name
            keep = keep_by_cuts(self.channels, cuts, title)
        return self._cut(Selection(keep, {}, {}))

    def recovered(self, attempt: Attempt) -> Attempt:
        """Repair what is left, if it was not yet."""
        if attempt.recovery is not None:
            return attempt
        with self.watch.stage("recover"):
            recovery = recover(
                (self.plain, attempt.cut.model),
                self.channels,
                attempt.selection.keep,
                self.settings.recover,
                self.images,
                self.watch.progress,
            )
        return replace(attempt, recovery=recovery)

    def at(self, settings: Settings) -> Prepared:
        """Return the same for settings that differ in the target or in recovery alone."""
        return replace(self, settings=settings, watch=Watch(self.watch.progress))

    def timed(self, times: dict[int, LayerTime]) -> Prepared:
        """Return the same, with the times of layers."""
        return replace(self, known=replace(self.known, times=times))

    def _cut(self, selection: Selection) -> Attempt:
        with self.watch.stage("cut"):
            # A model that loses nothing keeps its local functions too.
            source = self.model if selection.keep.all() else self.plain
            return Attempt(selection, cut(source, self.channels, selection.keep))


def prepare(model: Model, settings: Settings, watch: Watch, *, hold_out: bool = False) -> Prepared:
    """Analyse a model, read the calibration images, and learn from both what selection needs.

    With ``hold_out`` some of the images are kept back to measure on.
    """
    with watch.stage("analyze"):
        source = in_order(model)
        tail = _tail(source, settings)
        model = source if tail is None else tail.head
        plain = written_out(model)
        channels = analyze(plain, scope_of(settings))
        channels = channels if tail is None else tail.explained(channels)
    images, held_out = None, None
    if settings.calibration is not None:
        with watch.stage("load"):
            images = images_to_fit(plain.proto, settings, watch.progress)
        if hold_out:
            images, held_out = images.split()
    known, gammas = Knowledge({}), dict[int, GammaSource]()
    if settings.keep is None:
        with watch.stage("allocate"):
            seen = plain
            if images is not None:
                seen = measurable(plain, images.batches)
                images = replace(images, notes=(*images.notes, *told(seen, channels)))
            known, gammas = _known(seen, channels, settings, images, watch)
    models = (source, model, plain)
    return Prepared(*models, channels, settings, known, gammas, images, held_out, watch, tail)


def _tail(model: Model, settings: Settings) -> Tail | None:
    """Where a model ends for ONNX Runtime, which is not asked to run it where nothing is proven."""
    try:
        return find_tail(model)
    except KernelError:
        if settings.verify or settings.calibration is not None:
            raise
        return None


def scope_of(settings: Settings) -> Scope:
    """What the settings allow to be pruned."""
    return Scope(
        residual=settings.residual,
        norm_statistics=settings.norm_statistics,
        include=settings.include,
        exclude=settings.exclude,
        input_shapes=dict(settings.input_shapes),
    )


def _known(
    model: Model, channels: ChannelMap, settings: Settings, images: Images | None, watch: Watch
) -> tuple[Knowledge, dict[int, GammaSource]]:
    """What allocation and selection go by, and the source of |γ| per layer."""
    if images is None:
        gammas, sources = channel_gammas(channels, {})
        return Knowledge(gammas), sources
    energies = settings.worth == "energy"
    statistics = layer_statistics(model, channels, images, energies, watch.progress)
    gammas, sources = channel_gammas(channels, statistics.deviation)
    known = Knowledge(gammas, statistics.energy)
    if by_losses(settings) or criterion(settings.method).needs == "losses":
        at = select_at(channels, settings, known)
        known = replace(known, losses=measure_losses(model, channels, images, at, watch.progress))
    return known, sources
