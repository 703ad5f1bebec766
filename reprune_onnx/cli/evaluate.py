"""`reprune-onnx evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from reprune_onnx.cli.declared import first, option, with_settings
from reprune_onnx.cli.options import JsonFile, ModelArgument, Quiet, check_json, emit_json

if TYPE_CHECKING:
    from reprune_onnx.types import Model


@first("data", "against", "task", "annotations", "labels", "decode", "ignore_index")
@with_settings("preprocess", "classes", "skip_broken", into="reading")
@with_settings("input_shapes", into="sizes")
def command(
    model: ModelArgument,
    data: Annotated[
        str,
        typer.Option(
            metavar="DATA",
            help="Images with labels: FILE.npz, FILE.npz:x_name,y_name, a folder or .tar whose"
            " sub-folders are the labels, or package.module:function. For detection, a folder with"
            " objects in COCO's or Pascal VOC's format, or a data.yaml of Ultralytics.",
        ),
    ],
    reading: dict[str, Any],
    sizes: dict[str, Any],
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="ORIGINAL",
            help="Model to compare with, such as the one MODEL was pruned from. Images then need no"
            " labels. For detection, its detections are the truth.",
        ),
    ] = None,
    task: Annotated[
        Literal[
            "classification",
            "detection",
            "segmentation",
            "pose",
            "semantic-segmentation",
            "regression",
            "multi-label",
        ],
        typer.Option(
            help="Task of the model, and what is measured: top-1 and top-5 (classification);"
            " average precision of boxes (detection), masks (segmentation) or keypoints (pose);"
            " mean IoU (semantic-segmentation, also segmentation without outlines of objects);"
            " errors (regression); mean AP (multi-label). The last three take labels from y in a"
            " .npz, from masks/ beside images/, or from a .csv or .json beside the images."
        ),
    ] = "classification",
    annotations: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Objects in COCO's format; default: the only .json in DATA or DATA/annotations.",
        ),
    ] = None,
    labels: Annotated[
        Literal["ids", "order"],
        typer.Option(
            help="Numbers of classes in a detector's output: ids of categories, or places in the"
            " order of ids, from 1. Raw outputs always number that order from 0."
        ),
    ] = "ids",
    decode: Annotated[
        str | None,
        option("decode"),
    ] = None,
    ignore_index: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Value of mask pixels to leave out; default: 255, and all below 0."
        ),
    ] = None,
    json: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Measure accuracy on labelled images, or agreement with --against ORIGINAL on any images.

    --task names what the model does, if that is not classification.
    """
    from dataclasses import asdict

    from reprune_onnx.activations.opened import Wanted, open_for
    from reprune_onnx.cli.detector import Where, evaluate_detector
    from reprune_onnx.cli.progress import Bar
    from reprune_onnx.data.labels import CLASSES
    from reprune_onnx.data.objects import has_outlines
    from reprune_onnx.data.reading import Reading
    from reprune_onnx.errors import UsageError
    from reprune_onnx.model import load
    from reprune_onnx.report.tables import print_evaluation, print_task
    from reprune_onnx.runtime.evaluate import evaluate
    from reprune_onnx.runtime.evaluate_detection import DetectionTask
    from reprune_onnx.runtime.evaluate_task import evaluate_task
    from reprune_onnx.tasks import TASKS

    check_json(json, model, against, Path(data), annotations)
    if task == "segmentation" and annotations is None and not has_outlines(Path(data)):
        task = "semantic-segmentation"
    if task in ("detection", "segmentation", "pose"):
        place = Where(Path(data), annotations, against, Reading(**reading))
        plan = DetectionTask(
            task == "segmentation", labels, decode=decode, keypoints=task == "pose"
        )
        evaluate_detector(load(model), place, plan, json, quiet)
        return
    if decode is not None:
        raise UsageError("--decode is of raw outputs of a detector: give --task detection too")
    if annotations is not None or labels != "ids":
        raise UsageError(
            "--annotations and --labels are of objects: give --task detection or segmentation too"
        )
    kind = TASKS.get(task)
    if ignore_index is not None and task != "semantic-segmentation":
        raise UsageError("--ignore-index is of masks: give --task semantic-segmentation too")
    loaded = load(model)
    original = None if against is None else load(against)
    wanted = CLASSES if kind is None else kind.labels
    dataset = open_for(
        loaded.proto,
        Wanted(data, Reading(**reading), wanted if against is None else wanted.where_they_fit()),
        sizes["input_shapes"],
        None if original is None else original.proto,
    )
    named = {
        name: None if value is None else str(value)
        for name, value in (
            *(("model", model), ("against", against)),
            *(("data", data), ("preprocess", reading["preprocess"])),
        )
    }
    with Bar(quiet) as bar:

        def show(done: int, total: int) -> None:
            bar("evaluating", done, total)

        if kind is not None:
            measured = evaluate_task(loaded, dataset, kind, original, ignore_index, show)
        else:
            evaluation = evaluate(loaded, dataset, against=original, progress=show)
    named["preprocess_note"] = dataset.better
    emit_json((asdict(evaluation) if kind is None else measured.as_json()) | named, json)
    if not quiet and json != "-":
        notes = (*dataset.notes, *_of_tail(loaded))
        if kind is None:
            print_evaluation(asdict(evaluation), str(dataset.preprocess), notes)
        else:
            print_task(measured, kind, str(dataset.preprocess), notes)


def _of_tail(model: Model) -> list[str]:
    """The note on a model that ends in ops which ONNX Runtime lacks."""
    from reprune_onnx.runtime.tail import find_tail

    tail = find_tail(model)
    return [] if tail is None else [tail.note]
