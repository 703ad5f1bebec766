"""`reprune-onnx bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from reprune_onnx.benchmark.settings import BenchSettings
from reprune_onnx.cli.declared import with_settings
from reprune_onnx.cli.options import JsonFile, Quiet, check_json, emit_json
from reprune_onnx.errors import ModelError, UsageError


@with_settings(of=BenchSettings)
def command(
    models: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL", help="One or more ONNX files or TensorRT engines, the original first."
        ),
    ],
    settings: dict[str, Any],
    json: JsonFile = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Plot of images/s over batch size, as .png, .svg or .pdf."
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Measure the speed of models, in turns, at several batch sizes.

    Each model is checked first: it runs, and computes what a plain run on the CPU does.
    """
    from reprune_onnx.benchmark.plot import plot_throughput
    from reprune_onnx.benchmark.run import Watching, bench
    from reprune_onnx.cli.progress import Bar
    from reprune_onnx.report.figure import check_plot
    from reprune_onnx.report.tables import print_bench

    how = BenchSettings(**settings)
    if how.layers and json is None:
        raise UsageError("--layers are written with --json; give that too")
    check_json(json, *models)
    check_plot(plot)

    def write(result: dict[str, Any]) -> None:
        if json != "-":
            emit_json(result, json)

    with Bar(quiet) as bar:
        result = bench(models, how, Watching(bar, write))
    emit_json(result, json)
    if plot is not None:
        plot_throughput(result, plot)
    if not quiet and json != "-":
        print_bench(result)
    if result["failures"]:
        raise ModelError(_failed(result))


def _failed(result: dict[str, Any]) -> str:
    first, *more = result["failures"]
    kept = f"what was measured before is kept ({len(result['rows'])} rows)"
    others = f" (and {len(more)} more)" if more else ""
    return f"{first['error']}{others}; {kept}"
