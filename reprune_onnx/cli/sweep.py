"""`reprune-onnx sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from reprune_onnx.cli.options import (
    Calibration,
    CalibrationSize,
    Classes,
    Exclude,
    Include,
    InputShape,
    ModelArgument,
    NormStatistics,
    Precision,
    Preprocess,
    Quiet,
    Residual,
    RoundTo,
    SkipBroken,
    Target,
)


def command(
    context: typer.Context,
    model: ModelArgument,
    macs_reduction: Annotated[
        str, typer.Option(metavar="R,R,…", help="Shares of the multiply-adds that go, in (0, 1).")
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="DIR", help="Folder for models and results.")
    ],
    method: Annotated[str, typer.Option(metavar="M,M,…", help="Methods of prune.")] = "reprune,l1",
    coverage: Annotated[str, typer.Option(metavar="C,C,…", help="Worths of a cluster.")] = "auto",
    allocation: Annotated[str, typer.Option(metavar="A,A,…", help="Allocations.")] = "auto",
    recover: Annotated[str, typer.Option(metavar="R,R,…", help="Recoveries.")] = "auto",
    calibration: Calibration = None,
    calibration_size: CalibrationSize = 512,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Labelled images to measure accuracy on; without, a third of the --calibration"
            " images is held out to measure agreement with MODEL.",
        ),
    ] = None,
    preprocess: Preprocess = None,
    classes: Classes = None,
    skip_broken: SkipBroken = False,
    residual: Residual = "keep",
    norm_statistics: NormStatistics = "lock",
    include: Include = None,
    exclude: Exclude = None,
    target: Target = None,
    precision: Precision = None,
    round_to: RoundTo = None,
    seed: Annotated[int, typer.Option(help="Of the random choices.")] = 0,
    input_shape: InputShape = None,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", metavar="N", help="Processes; -1 for all cores.")
    ] = 1,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="A Dask scheduler, such as tcp://10.0.0.1:8786, whose workers see the same files.",
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Prune at several targets in several ways: a table, a Pareto plot and the models.

    Run it again to go on where it was stopped.
    """
    from reprune_onnx.cli.progress import Bar
    from reprune_onnx.cli.typed import typed
    from reprune_onnx.report.tables import print_sweep
    from reprune_onnx.settings import Settings
    from reprune_onnx.shapes import parse_input_shapes
    from reprune_onnx.sweeps.sweep import SweepOptions, sweep

    shares = [_share(text) for text in macs_reduction.split(",")]
    base = Settings(
        macs_reduction=shares[0],
        residual=residual,
        norm_statistics=norm_statistics,
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        round_to=round_to,
        target=target,
        precision=precision,
        seed=seed,
        input_shapes=tuple(parse_input_shapes(input_shape or []).items()),
        calibration=calibration,
        calibration_size=calibration_size,
        preprocess=preprocess,
        classes=classes,
        skip_broken=skip_broken,
    )
    ways = {"method": method, "coverage": coverage, "allocation": allocation, "recover": recover}
    varied: dict[str, list[Any]] = {name: text.split(",") for name, text in ways.items()}
    varied["macs_reduction"] = shares
    how = SweepOptions(data, jobs, scheduler, tuple(typed(context)))
    with Bar(quiet) as bar:
        rows = sweep(model, out, base, varied, how, bar)
    if not quiet:
        print_sweep(rows, out)


def _share(text: str) -> float:
    from reprune_onnx.errors import UsageError

    try:
        return float(text)
    except ValueError as error:
        raise UsageError(f"--macs-reduction '{text}' is not a number, as in 0.3,0.5") from error
