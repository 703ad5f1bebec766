"""`reprune-onnx recover`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reprune_onnx.cli.options import (
    Calibration,
    CalibrationSize,
    Force,
    InputShape,
    Memory,
    Preprocess,
    Quiet,
    Recover,
    SkipBroken,
)


def command(
    original: Annotated[Path, typer.Argument(metavar="ORIGINAL", help="The file that was pruned.")],
    pruned: Annotated[Path, typer.Argument(metavar="PRUNED", help="What came of it.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="The recovered model.")],
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The report of the pruning; default: beside PRUNED."),
    ] = None,
    calibration: Calibration = None,
    calibration_size: CalibrationSize = 512,
    preprocess: Preprocess = None,
    skip_broken: SkipBroken = False,
    memory: Memory = None,
    recover: Recover = "auto",
    input_shape: InputShape = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Repair the accuracy of a pruned file from unlabelled images, without training."""
    from reprune_onnx.cli.progress import Bar
    from reprune_onnx.pipeline import recover_file
    from reprune_onnx.report.files import Destination, report_path
    from reprune_onnx.report.tables import print_recovery
    from reprune_onnx.settings import Settings
    from reprune_onnx.shapes import parse_input_shapes

    cuts = report or report_path(pruned)
    settings = Settings(
        keep=cuts,
        calibration=calibration,
        calibration_size=calibration_size,
        preprocess=preprocess,
        skip_broken=skip_broken,
        memory=memory,
        recover=recover,
        input_shapes=tuple(parse_input_shapes(input_shape or []).items()),
    )
    read = (original, cuts)
    destination = Destination.of(pruned, out, None, force=force, dry_run=False, read=read)
    with Bar(quiet) as bar:
        result = recover_file(original, pruned, settings, destination, bar)
    if not quiet:
        print_recovery(result.report, destination, result.notes)
