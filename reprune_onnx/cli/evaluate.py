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
    task: Annotated[Literal["classification"], typer.Option(help="What the model does.")] = (
        "classification"
    ),
    preprocess: Preprocess = None,
    input_shape: InputShape = None,
    json: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Measure accuracy on labelled images, and agreement with the original on any."""
    from dataclasses import asdict

    from reprune_onnx.cli.progress import Bar
    from reprune_onnx.data.open import open_data
    from reprune_onnx.model import load
    from reprune_onnx.report.tables import print_evaluation
    from reprune_onnx.runtime.evaluate import evaluate
    from reprune_onnx.runtime.image_input import image_input
    from reprune_onnx.shapes import parse_input_shapes

    del task
    check_json(json, model, against, Path(data))
    own = load(model)
    port = image_input(own.proto, parse_input_shapes(input_shape or []))
    dataset = open_data(data, preprocess=preprocess, input_shape=port.shape, dtype=port.dtype)
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
