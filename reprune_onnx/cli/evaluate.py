"""`reprune-onnx evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from reprune_onnx.cli.options import (
    InputShape,
    JsonFile,
    ModelArgument,
    Preprocess,
    Quiet,
    check_json,
    emit_json,
)


def command(
    model: ModelArgument,
    data: Annotated[
        str,
        typer.Option(
            metavar="DATA",
            help="FILE.npz, FILE.npz:x_name,y_name, a folder or .tar of images whose sub-folders"
            " are the labels, or package.module:function.",
        ),
    ],
    against: Annotated[
        Path | None,
        typer.Option(metavar="ORIGINAL", help="Compare with the model it was pruned from."),
    ] = None,
    task: Annotated[
        Literal["classification", "detection", "segmentation"],
        typer.Option(
            help="What the model does. For the last two DATA is a folder of images, and average"
            " precision is that of boxes, and of masks."
        ),
    ] = "classification",
    annotations: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Objects in COCO's format; default: the only .json in DATA."
        ),
    ] = None,
    labels: Annotated[
        Literal["ids", "order"],
        typer.Option(
            help="What a detector's labels are: ids of categories, or their order by id, from 1."
        ),
    ] = "ids",
    preprocess: Preprocess = None,
    input_shape: InputShape = None,
    json: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Measure accuracy on labelled images, and agreement with the original on any.

    Of detectors: average precision on images in COCO's format.
    """
    from dataclasses import asdict

    from reprune_onnx.cli.progress import Bar
    from reprune_onnx.data.coco import open_coco
    from reprune_onnx.data.labels import CLASSES, IF_CLASSES
    from reprune_onnx.data.open import open_data
    from reprune_onnx.data.preprocess import parse_preprocess
    from reprune_onnx.errors import UsageError
    from reprune_onnx.model import load
    from reprune_onnx.report.tables import print_detection, print_evaluation
    from reprune_onnx.runtime.evaluate import evaluate
    from reprune_onnx.runtime.evaluate_detection import DetectionTask, evaluate_detection
    from reprune_onnx.runtime.image_input import image_input
    from reprune_onnx.shapes import parse_input_shapes

    check_json(json, model, against, Path(data), annotations)
    if task != "classification":
        if against is not None:
            raise UsageError(
                "--against compares classifiers: evaluate both detectors by themselves"
            )
        plan = DetectionTask(task == "segmentation", labels, parse_preprocess(preprocess))
        with Bar(quiet) as bar:
            seen = evaluate_detection(
                load(model),
                open_coco(Path(data), annotations),
                plan,
                lambda done, total: bar("detecting", done, total),
            )
        emit_json({k: v for k, v in asdict(seen).items() if v is not None}, json)
        if not quiet and json != "-":
            print_detection(asdict(seen), str(plan.preprocess))
        return
    if annotations is not None:
        raise UsageError("--annotations are of objects: give --task detection or segmentation too")
    own = load(model)
    port = image_input(own.proto, parse_input_shapes(input_shape or []))
    dataset = open_data(
        data,
        preprocess=preprocess,
        input_shape=port.shape,
        dtype=port.dtype,
        labels=CLASSES if against is None else IF_CLASSES,
    )
    with Bar(quiet) as bar:
        found = evaluate(
            own,
            dataset,
            against=None if against is None else load(against),
            progress=lambda done, total: bar("evaluating", done, total),
        )
    told = {"model": model, "against": against, "data": data, "preprocess": preprocess}
    named = {name: None if value is None else str(value) for name, value in told.items()}
    emit_json(asdict(found) | named, json)
    if not quiet and json != "-":
        print_evaluation(asdict(found), str(dataset.preprocess))
