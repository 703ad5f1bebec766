"""`reprune-onnx convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from reprune_onnx.cli.declared import first, with_settings
from reprune_onnx.cli.options import (
    Device,
    Force,
    JsonFile,
    ModelArgument,
    Quiet,
    WrittenPrecision,
    check_json,
    emit_json,
)


@first("target", "out", "precision")
@with_settings("calibration", "calibration_size", into="images")
@with_settings("preprocess", "skip_broken", into="reading")
@with_settings("input_shapes", into="sizes")
def command(
    model: ModelArgument,
    target: Device,
    images: dict[str, Any],
    reading: dict[str, Any],
    sizes: dict[str, Any],
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", metavar="OUT", help="File to write; default: MODEL-TARGET.onnx."
        ),
    ] = None,
    precision: WrittenPrecision = None,
    force: Force = False,
    json: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Write a file that a device can read, in its precision, and check that it computes the same.

    Measure an int8 file with evaluate, for it computes other values.
    """
    from reprune_onnx.atomic import check_out
    from reprune_onnx.targets import read_target

    device = read_target(target)
    device.precision(precision)
    where = out or model.with_name(f"{model.stem}-{device.name}.onnx")
    check_out(where, [model], force=force)
    check_json(json, model, where)
    from reprune_onnx.data.reading import Reading
    from reprune_onnx.deployment.convert import convert
    from reprune_onnx.deployment.files import calibrated, read
    from reprune_onnx.model import save
    from reprune_onnx.report.devices import print_conversion

    source = read(model)
    shapes = sizes["input_shapes"]
    given = calibrated(source, **images, how=Reading(**reading), shapes=shapes)
    converted = convert(source, device, precision, input_shapes=shapes, images=given)
    save(converted.model, where)
    emit_json(converted.as_json(), json)
    if not quiet and json != "-":
        print_conversion(converted, str(where))
