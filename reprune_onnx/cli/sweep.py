"""`reprune-onnx sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from reprune_onnx.cli.declared import option, several, with_settings
from reprune_onnx.cli.options import ModelArgument, Quiet
from reprune_onnx.errors import DataError, UsageError
from reprune_onnx.settings import Settings


@with_settings(
    *("calibration", "calibration_size", "preprocess", "classes", "skip_broken", "residual"),
    "norm_statistics",
    *("include", "exclude", "target", "precision", "round_to", "seed", "input_shapes"),
    *("task", "decode"),
)
def command(
    context: typer.Context,
    model: ModelArgument,
    macs_reduction: Annotated[
        str, typer.Option(metavar="R,R,…", help="Shares of the multiply-adds to remove.")
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="DIR", help="Folder for models and results.")
    ],
    settings: dict[str, Any],
    method: Annotated[str, several("method")] = "reprune,l1",
    coverage: Annotated[str, several("coverage")] = "auto",
    allocation: Annotated[str, several("allocation")] = "auto",
    recover: Annotated[str, several("recover")] = "auto",
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Labelled images to measure accuracy on, as --task has it. Default: a third of the"
            " --calibration images measures agreement with MODEL.",
        ),
    ] = None,
    jobs: Annotated[int, option("jobs")] = 1,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Dask scheduler, such as tcp://10.0.0.1:8786, whose workers see the same files.",
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Prune to several sizes in several ways; write the models, a table and a Pareto plot.

    Every --macs-reduction is tried with every --method, --coverage, --allocation and --recover.
    The same command goes on where it was stopped.
    """
    from reprune_onnx.cli.progress import Bar
    from reprune_onnx.cli.typed import typed
    from reprune_onnx.report.tables import print_sweep
    from reprune_onnx.sweeps.sweep import SweepOptions, sweep

    shares = [_share(text) for text in macs_reduction.split(",")]
    base = Settings(macs_reduction=shares[0], **settings)
    ways = {"method": method, "coverage": coverage, "allocation": allocation, "recover": recover}
    varied: dict[str, list[Any]] = {name: text.split(",") for name, text in ways.items()}
    varied["macs_reduction"] = shares
    how = SweepOptions(data, jobs, scheduler, tuple(typed(context)))
    with Bar(quiet) as bar:
        rows = sweep(model, out, base, varied, how, bar)
    if not quiet:
        print_sweep(rows, out)
    if all("error" in row for row in rows):
        raise DataError(f"no case could be done: {rows[0]['error']}")


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise UsageError(f"--macs-reduction '{text}' is not a number, as in 0.3,0.5") from error
