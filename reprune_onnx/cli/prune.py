"""`reprune-onnx prune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from reprune_onnx.cli.options import (
    Calibration,
    CalibrationSize,
    Classes,
    Exclude,
    Force,
    Include,
    InputShape,
    Memory,
    ModelArgument,
    NormStatistics,
    Precision,
    Preprocess,
    Quiet,
    Recover,
    Residual,
    RoundTo,
    SkipBroken,
    Target,
)
from reprune_onnx.settings import PRESETS
from reprune_onnx.taken import words_of_widths


def command(
    context: typer.Context,
    model: ModelArgument,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="OUT", help="Default: MODEL-pruned.onnx beside MODEL."),
    ] = None,
    sparsity: Annotated[
        float | None,
        typer.Option(metavar="S", help="Share of the prunable channels that go, in [0, 1)."),
    ] = None,
    macs_reduction: Annotated[
        float | None,
        typer.Option(
            metavar="R",
            help="Share of multiply-adds that go, in (0, 1); with --include of those it names.",
        ),
    ] = None,
    params_reduction: Annotated[
        float | None, typer.Option(metavar="R", help="Share of parameters that go, in (0, 1).")
    ] = None,
    latency_reduction: Annotated[
        float | None,
        typer.Option(
            metavar="R",
            help="Share of the time of one run that goes, in (0, 1), measured on this machine, or"
            " read from --latency-table.",
        ),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            metavar="POINTS",
            help="The smallest model that loses at most so many points of accuracy on --calibration"
            " images with labels; without labels, of agreement with MODEL.",
        ),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Apply the selection of an earlier report."),
    ] = None,
    preset: Annotated[
        Literal["paper"] | None,
        typer.Option(help="Defaults as in the paper; options given beside it win."),
    ] = None,
    method: Annotated[
        Literal[
            "reprune", "representative", "l1", "l2", "fpgm", "bn-gamma", "random", "reconstruction"
        ],
        typer.Option(help="Which channels stay; reconstruction needs --calibration."),
    ] = "reprune",
    coverage: Annotated[
        Literal["auto", "count", "norm", "energy"],
        typer.Option(
            help="What a covered cluster is worth: 1 (the paper), its kernels' squared norms, or"
            " these times the energy of their input (needs --calibration); auto is norm with"
            " --calibration, else count."
        ),
    ] = "auto",
    allocation: Annotated[
        Literal["auto", "bn-gamma", "uniform", "sensitivity"],
        typer.Option(
            help="How many channels each layer keeps: auto is sensitivity (least measured loss)"
            " with --calibration, else bn-gamma (Eq. 8-9)."
        ),
    ] = "auto",
    residual: Residual = "keep",
    norm_statistics: NormStatistics = "lock",
    linkage: Annotated[
        Literal["ward", "single", "complete", "average"], typer.Option(help="Of the clustering.")
    ] = "ward",
    cutoff: Annotated[
        Literal["merge-count", "height"],
        typer.Option(help="Stop clustering after ñ merges (Eq. 5), or at the height h_l."),
    ] = "merge-count",
    tie_break: Annotated[
        Literal["random", "max-l2", "min-l2"],
        typer.Option(help="Among filters that cover equally many clusters."),
    ] = "random",
    seed: Annotated[int, typer.Option(help="Of the random choices.")] = 0,
    input_channels: Annotated[
        Literal["all", "kept"],
        typer.Option(help="Input channels that the clustering sees: all, or those that stay."),
    ] = "all",
    include: Include = None,
    exclude: Exclude = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB=N", help="Kept channels of single layers; repeatable."),
    ] = None,
    min_channels: Annotated[
        int, typer.Option(metavar="N", help="The least that any layer keeps.")
    ] = 1,
    target: Target = None,
    precision: Precision = None,
    round_to: RoundTo = None,
    input_shape: InputShape = None,
    calibration: Calibration = None,
    calibration_size: CalibrationSize = 512,
    preprocess: Preprocess = None,
    classes: Classes = None,
    skip_broken: SkipBroken = False,
    memory: Memory = None,
    recover: Recover = "auto",
    latency_table: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Layer times of another device, for --latency-reduction."
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Default: OUT with .report.json for .onnx."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="The table and the report, but no model.")
    ] = False,
    no_verify: Annotated[
        bool, typer.Option("--no-verify", help="Write the model without proving the cut.")
    ] = False,
    force: Force = False,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", metavar="N", help="Processes; -1 for all cores.")
    ] = 1,
    quiet: Quiet = False,
) -> None:
    """Choose channels, cut them out of the file, prove the cut, write a smaller model."""
    from reprune_onnx.cli.progress import Bar
    from reprune_onnx.pipeline import prune_file
    from reprune_onnx.report.files import Destination
    from reprune_onnx.report.tables import print_pruning
    from reprune_onnx.settings import Settings
    from reprune_onnx.shapes import parse_input_shapes

    chosen: dict[str, Any] = {
        "method": method,
        "coverage": coverage,
        "allocation": allocation,
        "residual": residual,
        "norm_statistics": norm_statistics,
        "linkage": linkage,
        "cutoff": cutoff,
        "tie_break": tie_break,
        "recover": recover,
    }
    if preset is not None:
        for name, value in PRESETS[preset].items():
            source = context.get_parameter_source(name)
            if source is None or source.name == "DEFAULT":
                chosen[name] = value
    settings = Settings(
        sparsity=sparsity,
        macs_reduction=macs_reduction,
        params_reduction=params_reduction,
        latency_reduction=latency_reduction,
        latency_table=latency_table,
        max_drop=max_drop,
        keep=keep,
        seed=seed,
        input_channels=input_channels,
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        layer=words_of_widths(layer),
        min_channels=min_channels,
        round_to=round_to,
        target=target,
        precision=precision,
        input_shapes=tuple(parse_input_shapes(input_shape or []).items()),
        calibration=calibration,
        calibration_size=calibration_size,
        preprocess=preprocess,
        classes=classes,
        skip_broken=skip_broken,
        verify=not no_verify,
        jobs=jobs,
        memory=memory,
        **chosen,
    )
    destination = Destination.of(model, out, report, force=force, dry_run=dry_run)
    with Bar(quiet) as bar:
        result = prune_file(model, settings, destination, bar)
    if not quiet:
        print_pruning(result.report, destination)
