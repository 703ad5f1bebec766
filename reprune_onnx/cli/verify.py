"""`reprune-onnx verify`."""

from __future__ import annotations

import typer

from reprune_onnx.cli.options import Original, Pruned, Quiet, ReportOfPruning


def command(
    original: Original,
    pruned: Pruned,
    report: ReportOfPruning = None,
    quiet: Quiet = False,
) -> None:
    """Check that a pruned file computes what its original computes without the dropped channels.

    A file that was recovered or trained since has other values: its structure is compared, and it
    is run.
    """
    from reprune_onnx.cli.progress import Bar
    from reprune_onnx.verification.files import verify

    with Bar(quiet) as bar:
        outcome = verify(original, pruned, report, bar)
    if quiet:
        return
    if outcome.note is not None:
        typer.echo(f"note: {outcome.note}")
    if outcome.result is None:
        typer.echo(
            f"structure verified, and the model runs; {outcome.changed} tensors have other values"
            " than the cut (recovered or trained since), so outputs were not compared"
        )
        return
    v = outcome.result
    control = v.negative_control
    wrong = f"a deliberately wrong cut differs by {control:.3g}" if control else "nothing was cut"
    typer.echo(
        f"verified on {v.runs} inputs: largest difference {v.max_abs_diff:.3g} at an output scale"
        f" of {v.scale:.3g}; {wrong}"
    )
