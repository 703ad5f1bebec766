"""`reprune-onnx bundle`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from reprune_onnx.cli.declared import first, with_settings
from reprune_onnx.cli.options import Device, Quiet


@first("target", "out", "batch_size", "precision")
@with_settings("calibration", "calibration_size", into="images")
@with_settings("preprocess", "skip_broken", into="reading")
@with_settings("input_shapes", into="sizes")
def command(
    models: Annotated[
        list[Path],
        typer.Argument(metavar="MODEL", help="One or more ONNX files, the original first."),
    ],
    target: Device,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="New folder to write.")],
    images: dict[str, Any],
    reading: dict[str, Any],
    sizes: dict[str, Any],
    batch_size: Annotated[
        str | None,
        typer.Option(metavar="N,N,…", help="Batch sizes to measure; default: 1,2,4,8,16,32."),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="P,P,…",
            help="Precisions to build; default: all that the target has. int8 needs --calibration.",
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write a folder that builds, checks and measures models on a device.

    It is for devices that cannot run this tool, and holds converted models, references to check
    engines against, and scripts for a POSIX shell and Python 3.6, which build the engines there.
    """
    from reprune_onnx.cli.progress import Bar
    from reprune_onnx.data.reading import Reading
    from reprune_onnx.deployment.bundle import BundleOptions, bundle
    from reprune_onnx.report.devices import print_bundle
    from reprune_onnx.targets import read_target

    device = read_target(target)
    precisions = tuple(device.precision(p) for p in (precision or "").split(",") if p)
    options = BundleOptions(
        None if batch_size is None else tuple(_number(t) for t in batch_size.split(",")),
        precisions,
        **images,
        **sizes,
        reading=Reading(**reading),
    )
    with Bar(quiet) as bar:
        manifest = bundle(models, device, out, options, bar)
    if not quiet:
        print_bundle(manifest, str(out))


def _number(text: str) -> int:
    from reprune_onnx.errors import UsageError

    if not (text.strip().isascii() and text.strip().isdigit()):
        raise UsageError(f"--batch-size '{text}' is not a number of images, as in 1,8,32")
    return int(text)
