"""`reprune-onnx convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reprune_onnx.cli.options import (
    Calibration,
    CalibrationSize,
    Force,
    InputShape,
    JsonFile,
    ModelArgument,
    Preprocess,
    Quiet,
    SkipBroken,
    WrittenPrecision,
    check_json,
    emit_json,
)


def command(
    model: ModelArgument,
    target: Annotated[str, typer.Option(metavar="NAME", help="The device: see targets.")],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="OUT", help="Default: MODEL-TARGET.onnx beside MODEL."),
    ] = None,
    precision: WrittenPrecision = None,
    calibration: Calibration = None,
    calibration_size: CalibrationSize = 512,
    preprocess: Preprocess = None,
    skip_broken: SkipBroken = False,
    input_shape: InputShape = None,
    force: Force = False,
    json: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Write a file that a device can read, in its precision; prove that it computes the same.

    int8 needs --calibration images, and its accuracy is what evaluate says.
    """
    from reprune_onnx.deployment.files import calibrated, destination
    from reprune_onnx.shapes import parse_input_shapes
    from reprune_onnx.targets import read_target

    device = read_target(target)
    device.precision(precision)
    where = out or model.with_name(f"{model.stem}-{device.name}.onnx")
    destination(where, model, force=force)
    check_json(json, model, where)
    from reprune_onnx.data.reading import Reading
    from reprune_onnx.deployment.convert import convert
    from reprune_onnx.deployment.files import read
    from reprune_onnx.model import save
    from reprune_onnx.report.devices import print_conversion

    source = read(model)
    shapes = parse_input_shapes(input_shape or [])
    how = Reading(preprocess, skip_broken=skip_broken)
    images = calibrated(source, calibration, calibration_size, how, shapes)
    converted = convert(source, device, precision, input_shapes=shapes, images=images)
    save(converted.model, where)
    emit_json(converted.as_json(), json)
    if not quiet and json != "-":
        print_conversion(converted, str(where))
