"""`prune`: the whole machine as one straight function; `recover`: its last stage by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from reprune_onnx import recovery
from reprune_onnx.activations.images import Images, images_to_fit
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.analyzer.loops import told
from reprune_onnx.choices import Recover, RecoveryMethod, Reduction
from reprune_onnx.errors import UsageError
from reprune_onnx.int8.correct import corrected
from reprune_onnx.int8.stage import check_held_out, check_int8, quantize_pruned
from reprune_onnx.model import ModelLike, as_model, load, stage
from reprune_onnx.pruner.allocate.allocation import allocate
from reprune_onnx.pruner.earlier import (
    check_basis,
    earlier_report,
    earlier_selection,
    report_dict,
    report_name,
)
from reprune_onnx.pruner.knowledge import measure
from reprune_onnx.pruner.selection import select_channels
from reprune_onnx.recovery.methods import check_method, untrained
from reprune_onnx.report.files import Destination
from reprune_onnx.report.record import (
    build_report,
    stamp,
    stamp_recovery,
    timing,
    with_images_instead,
    with_int8,
    with_recovery,
)
from reprune_onnx.results import (
    Attempt,
    CutNetwork,
    LayerTime,
    Measured,
    Pruned,
    PruneRecord,
    Recovery,
    SearchResult,
    Subject,
    Verification,
)
from reprune_onnx.runtime.tail import head_of
from reprune_onnx.search.by_attempts import by_attempts, weighed
from reprune_onnx.search.drop import within_drop
from reprune_onnx.search.latency import at_latency
from reprune_onnx.search.reduction import nearest_selection
from reprune_onnx.search.without_images import without_images
from reprune_onnx.settings import Settings, check_settings
from reprune_onnx.streams.turn import in_bases
from reprune_onnx.subject import subject_of
from reprune_onnx.surgeon import cut
from reprune_onnx.surgeon.requantized import requantized
from reprune_onnx.types import Model, Selection
from reprune_onnx.verification.cut import check, verify_cut
from reprune_onnx.verification.files import matched
from reprune_onnx.verification.rounded import check_rounded
from reprune_onnx.verification.turned import check_turned
from reprune_onnx.watch import Progress, Watch


def prune(
    model: ModelLike,
    settings: Settings,
    progress: Progress | None = None,
    watch: Watch | None = None,
    measured: Measured | None = None,
) -> Pruned:
    """Choose channels, cut them out of ``model``, prove the cut, and recover accuracy.

    ``model`` is a path, an ``onnx.ModelProto`` or a `Model`; it is never changed.
    ``progress(stage, done, total)`` is called as work proceeds. ``measured`` is what `measure` made
    of this model before, with settings that differ in the target and in recovery alone. Where no
    images are given, those of a formula may serve (`without_images`), but not with ``measured``.

    Raises a RepruneError where the model cannot be pruned as asked, and VerificationError where the
    cut cannot be proven; the result then never exists.
    """
    check_settings(settings)
    watch = watch or Watch(progress)

    # analyze, and measure what every attempt goes by
    if measured is None:
        subject = _analyzed(model, settings, watch)
        if settings.generates:
            return _without_images(subject, settings, watch)
        measured = measure(subject, settings, watch, hold_out=settings.holds_out)
    subject, images = measured.subject, measured.images
    graph, channels = subject.graph, subject.channels

    # an attempt: allocate, select and cut
    def attempt(
        wanted: Reduction,
        times: Mapping[int, LayerTime] | None = None,
        weights: Mapping[int, float] | None = None,
    ) -> Attempt:
        losses = weighed(measured.knowledge.losses, weights or {})
        knowledge = replace(measured.knowledge, times=times or {}, losses=losses)

        def select(asked: Reduction) -> Selection:
            with watch.stage("allocate"):
                budget = allocate(graph, channels, settings, knowledge, asked)
            with watch.stage("select"):
                return select_channels(graph, channels, settings, budget, knowledge, watch.progress)

        at_least = bool(settings.rounding)
        return without(nearest_selection(select, wanted, graph, channels, at_least=at_least))

    def without(selection: Selection) -> Attempt:
        with watch.stage("cut"):
            network, streams = in_bases(measured, selection.keep)
            return Attempt(
                selection, cut(subject.flat, network, channels, selection.keep), network, streams
            )

    def left_by(attempt: Attempt) -> CutNetwork:
        return CutNetwork(attempt.graph, channels, attempt.selection.keep, attempt.cut.model)

    # an attempt that has to be judged is recovered at once, another at the end
    def recovered(attempt: Attempt) -> Recovery:
        return recovered_by(settings.recover, attempt)

    def fitted(attempt: Attempt) -> Recovery:
        return recovered_by(untrained(settings.recover), attempt)

    def recovered_by(method: Recover | RecoveryMethod, attempt: Attempt) -> Recovery:
        with watch.stage("recover"):
            epochs = settings.distill_epochs
            return recovery.recover(left_by(attempt), method, images, watch.progress, epochs)

    # as many attempts as the target takes
    wanted = settings.reduction
    if settings.keep is not None:
        with watch.stage("select"):
            selection = earlier_selection(graph, channels, settings.keep)
        result = SearchResult(without(selection))
    elif settings.max_drop is not None:
        result = within_drop(measured, settings, attempt, recovered, watch.progress)
    else:
        assert wanted is not None  # `Settings` has exactly one target
        if wanted.measure == "latency":
            result = at_latency(subject, wanted.share, settings, attempt, watch)
        elif settings.search is not None:
            result = by_attempts(measured, settings, attempt, fitted, watch.progress)
            if settings.then is None:  # else int8 is judged on what is held out
                images = measured.every
        else:
            result = SearchResult(attempt(wanted))

    # verify, recover and report the one that was taken
    verification = None
    if settings.verify:
        verification = _proof(graph, left_by(result.attempt), images, watch)
    result = replace(result, recovery=result.recovery or recovered(result.attempt))
    pruned = reported(measured, settings, result, verification, watch)
    return pruned if settings.then is None else quantized(pruned, measured, settings, watch)


def _analyzed(model: ModelLike, settings: Settings, watch: Watch) -> Subject:
    """The subject of a pruning, of which all is there that later stages need."""
    with watch.stage("load"):
        model = as_model(model)
    if settings.then is not None:
        check_int8(model, settings)
    with watch.stage("analyze"):
        subject = subject_of(model, settings)
    check_method(settings.recover, subject.flat)
    return subject


def _proof(graph: Graph, left: CutNetwork, images: Images | None, watch: Watch) -> Verification:
    """The proof of a cut of ``graph``, whose streams may have another basis in ``left``."""
    batches = () if images is None else images.batches
    with watch.stage("verify"):
        check_turned(graph, left.graph, batches)
        verification = verify_cut(left, watch.progress, batches)
        check(verification)
    return verification


def quantized(pruned: Pruned, measured: Measured, settings: Settings, watch: Watch) -> Pruned:
    """The result with the pruned model in int8 beside it, and four rows in the report."""
    subject, images, held_out = measured.subject, measured.images, measured.held_out
    assert images is not None and held_out is not None  # `check_images` and `holds_out`
    check_held_out(held_out)
    left = head_of(pruned.model)
    with watch.stage("int8"):
        made = quantize_pruned(subject.model, left, images, held_out, settings, watch.progress)
    model = made.model if subject.tail is None else subject.tail.put_back(made.model)
    return replace(pruned, report=with_int8(pruned.report, made.entry, made.notes), int8=model)


def _without_images(subject: Subject, settings: Settings, watch: Watch) -> Pruned:
    """Prune with generated images, or by the file alone where that does better."""

    def run(measured: Measured, settings: Settings) -> Pruned:
        return prune(subject.source, settings, watch.progress, watch, measured)

    pruned, instead, seen = without_images(subject, settings, watch, run)
    if seen is not None and settings.then is not None:
        pruned = quantized(pruned, seen, settings, watch)
    return replace(pruned, report=with_images_instead(pruned.report, instead))


def prune_file(
    source: Path, settings: Settings, destination: Destination, progress: Progress | None = None
) -> Pruned:
    """`prune` from file to file: nothing is written unless everything went well."""
    watch = Watch(progress)
    with watch.stage("load"):
        model = load(source)
    destination.protect(model.files)
    result = prune(model, settings, progress, watch)
    write(result, destination, watch)
    return result


def recover(
    original: ModelLike, pruned: ModelLike, settings: Settings, progress: Progress | None = None
) -> Pruned:
    """Recover the accuracy of a model that was pruned earlier, and say so in its report.

    ``settings.keep`` is the report of the pruning; of the others those of recovery and calibration
    count. Values that were trained since are where the recovery starts. Raises VerificationError
    where ``pruned`` is not what the report's cuts make of ``original``.
    """
    check_settings(settings)
    if settings.keep is None:
        raise UsageError("recover needs the report of the pruning: Settings(keep=…)")
    report = report_dict(settings.keep, "keep")
    earlier = earlier_report(report, report_name(settings.keep, "keep"))
    check_basis(earlier, report_name(settings.keep, "keep"))
    pair = matched(as_model(original, "original"), as_model(pruned, "pruned"), earlier)
    check_method(settings.recover, pair.original)
    images = None
    if settings.calibration is not None:
        images = images_to_fit(pair.original.proto, settings, progress)
    watch = Watch(progress)
    with watch.stage("recover"):
        recovered = recovery.recover(
            pair.network, settings.recover, images, progress, settings.distill_epochs
        )
    notes = () if images is None else images.notes
    back = requantized(recovered.model, pair.quantized, earlier.cuts)
    if pair.quantized is not None:
        back = replace(back, model=_corrected(recovered, back.model, images, progress))
    model, notes = stamp_recovery(pair.with_tail(back.model), settings), (*notes, *back.notes)
    done = with_recovery(report, recovered, model, watch.seconds["recover"], images)
    return Pruned(model, done, notes)


def recover_file(
    original: Path,
    pruned: Path,
    settings: Settings,
    destination: Destination,
    progress: Progress | None = None,
) -> Pruned:
    """`recover` from files to file."""
    models, keep = (load(original), load(pruned)), settings.keep
    destination.protect(
        [*models[0].files, *models[1].files, *([keep] if isinstance(keep, Path) else [])]
    )
    result = recover(*models, settings, progress)
    with destination.files() as files:
        if destination.model is not None:
            stage(result.model, destination.model, files)
        destination.stage_report(result.report, files)
        files.commit()
    return result


def reported(
    measured: Measured,
    settings: Settings,
    result: SearchResult,
    verification: Verification | None,
    watch: Watch,
) -> Pruned:
    """The recovered model, with its tail where it has one, and what was done to it."""
    subject, images, pruned = measured.subject, measured.images, result.attempt.cut
    assert result.recovery is not None
    notes = () if images is None else images.notes
    # A model that loses nothing stays as it came, with its local functions and loops.
    written = result.recovery.model if pruned.cuts else subject.model
    if pruned.cuts:
        back = requantized(written, subject.quantized, pruned.cuts)
        if settings.verify and subject.quantized is not None:
            check_rounded(back.model, written)
        written, notes = back.model, (*notes, *back.notes)
        if subject.quantized is not None:
            written = _corrected(result.recovery, written, images, watch.progress)
    notes = (*notes, *told(subject.model, written))
    if subject.tail is not None:
        written, notes = subject.tail.put_back(written), (*notes, subject.tail.note)
    record = PruneRecord(
        subject.source,
        subject.graph,
        subject.channels,
        settings,
        result.attempt.selection,
        replace(pruned, model=written),
        verification,
        result.recovery,
        result,
        notes,
        images,
        result.attempt.streams,
    )
    stamped = stamp(record)
    return Pruned(stamped, build_report(record, stamped, watch.seconds))


def _corrected(
    recovery: Recovery, rounded: Model, images: Images | None, progress: Progress | None
) -> Model:
    """A recovered network in whole numbers, corrected for what rounding does on the images."""
    if images is None or recovery.method == "none":
        return rounded
    return corrected(recovery.model, rounded, images, progress)


def write(result: Pruned, destination: Destination, watch: Watch) -> None:
    """Write the models and their report, or none of them."""
    with destination.files() as files:
        with watch.stage("write"):
            if destination.model is not None:
                stage(result.model, destination.model, files)
                if result.int8 is not None and destination.int8 is not None:
                    stage(result.int8, destination.int8, files)
        result.report["seconds"] = timing(watch.seconds)
        destination.stage_report(result.report, files)
        files.commit()
