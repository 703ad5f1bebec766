"""`prune`: the whole machine as one straight function; `recover`: its last stage by itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from reprune_onnx import recovery
from reprune_onnx.activations.images import images_to_fit
from reprune_onnx.analyzer.loops import told
from reprune_onnx.errors import UsageError
from reprune_onnx.model import ModelLike, as_model, load, stage
from reprune_onnx.prepared import Prepared, prepare
from reprune_onnx.pruner.earlier import earlier_report, report_dict, report_name
from reprune_onnx.report.fields import Report
from reprune_onnx.report.files import Destination
from reprune_onnx.report.record import (
    PruneRecord,
    build_report,
    stamp,
    stamp_recovery,
    timing,
    with_recovery,
)
from reprune_onnx.search.drop import within_drop
from reprune_onnx.search.latency import at_latency
from reprune_onnx.search.result import SearchResult
from reprune_onnx.settings import Settings, check_settings
from reprune_onnx.types import Model
from reprune_onnx.verification.cut import check, verify_cut
from reprune_onnx.verification.files import matched
from reprune_onnx.watch import Progress, Watch


@dataclass(frozen=True)
class Pruned:
    """The pruned model, and the report that is written beside it.

    ``notes`` are what recovery alone has to say of its images; of a pruning the report has them.
    """

    model: Model
    report: Report
    notes: tuple[str, ...] = ()


def prune(
    model: ModelLike,
    settings: Settings,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Pruned:
    """Choose channels, cut them out of ``model``, prove the cut, and recover accuracy.

    ``model`` is a path, an ``onnx.ModelProto`` or a `Model`; it is never changed.
    ``progress(stage, done, total)`` is called as work proceeds. Raises a RepruneError where the
    model cannot be pruned as asked, and VerificationError where the cut cannot be proven; the
    result then never exists.
    """
    check_settings(settings)
    watch = watch or Watch(progress)
    with watch.stage("load"):
        model = as_model(model)
    job = prepare(model, settings, watch, hold_out=settings.max_drop is not None)
    return finish(job, _searched(job))


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
    pair = matched(as_model(original, "original"), as_model(pruned, "pruned"), earlier)
    images = None
    if settings.calibration is not None:
        images = images_to_fit(pair.original.proto, settings, progress)
    watch = Watch(progress)
    with watch.stage("recover"):
        models = (pair.original, pair.pruned)
        recovered = recovery.recover(
            models, pair.channels, pair.keep, settings.recover, images, progress
        )
    model = stamp_recovery(pair.whole(recovered.model), settings)
    notes = () if images is None else images.notes
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


def finish(job: Prepared, result: SearchResult) -> Pruned:
    """Prove the cut of an attempt, recover accuracy, and say what was done."""
    attempt, verification = result.attempt, None
    keep, pruned = attempt.selection.keep, attempt.cut
    if job.settings.verify:
        with job.watch.stage("verify"):
            images = () if job.images is None else job.images.batches
            verification = verify_cut(
                job.plain, job.channels, keep, pruned.model, job.watch.progress, images
            )
            check(verification)
    repaired = job.recovered(attempt).recovery
    assert repaired is not None
    notes = () if job.images is None else job.images.notes
    notes = (*notes, *told(job.model, pruned.model))
    whole = repaired.model
    if job.tail is not None:
        whole, notes = job.tail.put_back(whole), (*notes, job.tail.note)
    record = PruneRecord(
        job.source,
        job.channels,
        job.settings,
        attempt.selection,
        replace(pruned, model=whole),
        verification,
        repaired,
        result,
        notes,
        job.images,
    )
    stamped = stamp(record)
    return Pruned(stamped, build_report(record, stamped, job.watch.seconds))


def write(result: Pruned, destination: Destination, watch: Watch) -> None:
    """Write the model and its report, or neither."""
    with destination.files() as files:
        with watch.stage("write"):
            if destination.model is not None:
                stage(result.model, destination.model, files)
        result.report["seconds"] = timing(watch.seconds)
        destination.stage_report(result.report, files)
        files.commit()


def _searched(job: Prepared) -> SearchResult:
    settings = job.settings
    if settings.keep is not None:
        return SearchResult(job.again())
    if settings.max_drop is not None:
        return within_drop(job, settings.max_drop)
    wanted = settings.reduction
    assert wanted is not None  # `Settings` has exactly one target
    if wanted.measure == "latency":
        return at_latency(job, wanted.share)
    return SearchResult(job.attempt(wanted))
