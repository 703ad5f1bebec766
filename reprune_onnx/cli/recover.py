"""`reprune-onnx recover`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from reprune_onnx.cli.declared import first, with_settings
from reprune_onnx.cli.options import Force, Original, Pruned, Quiet, ReportOfPruning
from reprune_onnx.settings import Settings


@first("calibration", "preprocess", "recover", "out", "report")
@with_settings(
    *("calibration", "calibration_size", "preprocess", "skip_broken", "memory", "recover"),
    "input_shapes",
)
def command(
    original: Original,
    pruned: Pruned,
    settings: dict[str, Any],
    out: Annotated[
        Path,
        typer.Option(
            "-o", "--out", metavar="OUT", help="Model to write; its report is written beside it."
        ),
    ],
    report: ReportOfPruning = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Repair the accuracy of a pruned file, best from unlabelled images, without training."""
    from reprune_onnx.cli.progress import Bar
    from reprune_onnx.pipeline import recover_file
    from reprune_onnx.report.files import Destination, report_path
    from reprune_onnx.report.tables import print_recovery

    cuts = report or report_path(pruned)
    how = Settings(keep=cuts, **settings)
    read = (original, cuts)
    destination = Destination.of(pruned, out, None, force=force, dry_run=False, read=read)
    with Bar(quiet) as bar:
        result = recover_file(original, pruned, how, destination, bar)
    if not quiet:
        print_recovery(result.report, destination, result.notes)
