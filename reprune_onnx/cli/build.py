"""`reprune-onnx build`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from reprune_onnx.cli.declared import first, with_settings
from reprune_onnx.cli.options import Device, Force, ModelArgument, Quiet, WrittenPrecision


@first("target", "out", "precision", "batch_size", "workspace", "timing_cache")
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
            "-o",
            "--out",
            metavar="ENGINE",
            help="Engine to write; default: MODEL-PRECISION.engine.",
        ),
    ] = None,
    precision: WrittenPrecision = None,
    batch_size: Annotated[
        str | None,
        typer.Option(
            metavar="N|MIN,OPT,MAX",
            help="Batch sizes: smallest, the one to tune for, and largest; default: 1,8,32.",
        ),
    ] = None,
    workspace: Annotated[
        int, typer.Option(metavar="MIB", help="Most MiB of memory that one layer may use.")
    ] = 4096,
    timing_cache: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File that keeps times of kernels for the next build; default: none.",
        ),
    ] = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Build a TensorRT engine on this machine, and compare it with ONNX Runtime.

    The engine runs only on this kind of GPU and version of TensorRT, which ENGINE.json names.
    """
    from reprune_onnx.atomic import check_out
    from reprune_onnx.data.reading import Reading
    from reprune_onnx.deployment.engine import BuildOptions, build, check_target
    from reprune_onnx.deployment.files import calibrated, read
    from reprune_onnx.report.devices import print_engine
    from reprune_onnx.runtime.tensorrt import require
    from reprune_onnx.targets import read_target

    device = read_target(target)
    check_target(device, precision)
    shapes = sizes["input_shapes"]
    options = BuildOptions(precision, _batches(batch_size), workspace, timing_cache, shapes)
    where = out or model.with_name(f"{model.stem}-{device.precision(precision)}.engine")
    check_out(where, [model], force=force)
    source = read(model)
    require()
    given = calibrated(source, **images, how=Reading(**reading), shapes=shapes)
    facts = build(source, device, where, options, given)
    if not quiet:
        print_engine(facts, str(where))


def _batches(text: str | None) -> tuple[int, int, int] | None:
    from reprune_onnx.errors import UsageError

    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(p.isascii() and p.isdigit() for p in parts) or len(parts) not in (1, 3):
        raise UsageError(
            f"--batch-size '{text}' is not one number of images or three, as in 1,8,32"
        )
    numbers = [int(p) for p in parts] * (3 if len(parts) == 1 else 1)
    return numbers[0], numbers[1], numbers[2]
