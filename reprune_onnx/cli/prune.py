"""`reprune-onnx prune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from reprune_onnx.choices import PRESETS
from reprune_onnx.cli.declared import first, with_settings
from reprune_onnx.cli.options import Force, ModelArgument, Quiet
from reprune_onnx.errors import UsageError
from reprune_onnx.settings import Settings


@first(
    *("sparsity", "macs_reduction", "params_reduction", "latency_reduction", "max_drop", "keep"),
    *("out", "calibration", "preprocess", "residual", "include", "exclude", "target", "recover"),
)
@with_settings()
def command(
    context: typer.Context,
    model: ModelArgument,
    settings: dict[str, Any],
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", metavar="OUT", help="File to write; default: MODEL-pruned.onnx."
        ),
    ] = None,
    preset: Annotated[
        Literal["paper"] | None,
        typer.Option(
            help="Defaults of the paper: --residual inner, --coverage count, --allocation bn-gamma,"
            " --recover none. Options that you give win."
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Report to write; default: OUT with .report.json for .onnx."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the table and write the report, but no model.")
    ] = False,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Remove channels from a model, prove the cut, repair accuracy, and write a smaller model.

    Give one target (--sparsity, --macs-reduction, --params-reduction, --latency-reduction,
    --max-drop or --keep), and --calibration images if you have any.
    """
    from reprune_onnx.cli.progress import Bar
    from reprune_onnx.pipeline import prune_file
    from reprune_onnx.report.files import Destination
    from reprune_onnx.report.tables import print_pruning

    if preset is not None:
        for name, value in PRESETS[preset].items():
            source = context.get_parameter_source(name)
            if source is None or source.name == "DEFAULT":
                settings[name] = value
    how = Settings(**settings)
    if not how.holds_out and (how.task != "classification" or how.decode is not None):
        raise UsageError(
            "--task and --decode go with --max-drop, --search or --then, which measure: give one"
            " of them too"
        )
    destination = Destination.of(model, out, report, force=force, dry_run=dry_run)
    if how.then is not None:
        destination = destination.with_int8()
    with Bar(quiet) as bar:
        result = prune_file(model, how, destination, bar)
    if not quiet:
        print_pruning(result.report, destination)
