"""`reprune-onnx bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from reprune_onnx.cli.options import InputShape, JsonFile, Quiet, check_json, emit_json
from reprune_onnx.errors import ModelError, UsageError


def command(
    models: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL…", help="ONNX files, or TensorRT engines; the first is the original."
        ),
    ],
    backend: Annotated[
        Literal["ort", "ort-cuda", "tensorrt", "openvino"],
        typer.Option(help="ONNX Runtime on the CPU or with CUDA, TensorRT, OpenVINO."),
    ] = "ort",
    batch_size: Annotated[
        str | None,
        typer.Option(metavar="N,N,…", help="Default: 1,8,32, or a model's static batch."),
    ] = None,
    threads: Annotated[
        int, typer.Option(metavar="N", help="Of one inference on the CPU; 0 for all cores.")
    ] = 0,
    seconds: Annotated[
        float, typer.Option(metavar="S", help="Measured for each model at each batch size.")
    ] = 3.0,
    clock: Annotated[
        Literal["wall", "cpu"],
        typer.Option(
            help="cpu counts the CPU time of --threads 1, for a machine that is busy otherwise."
        ),
    ] = "wall",
    layers: Annotated[
        bool,
        typer.Option(
            "--layers",
            help="Time the first model's layers too: with --json, a --latency-table for prune.",
        ),
    ] = False,
    input_shape: InputShape = None,
    json: JsonFile = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Images/s over batch size, as .png, .svg or .pdf."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Measure how fast models are: in turns, at several batch sizes, once they are checked."""
    from reprune_onnx.benchmark.plot import plot_throughput
    from reprune_onnx.benchmark.run import Watching, bench
    from reprune_onnx.benchmark.settings import BenchSettings
    from reprune_onnx.cli.progress import Bar
    from reprune_onnx.report.figure import check_plot
    from reprune_onnx.report.tables import print_bench
    from reprune_onnx.shapes import parse_input_shapes

    settings = BenchSettings(
        backend=backend,
        batch_sizes=_sizes(batch_size),
        threads=threads,
        seconds=seconds,
        clock=clock,
        layers=layers,
        input_shapes=tuple(parse_input_shapes(input_shape or []).items()),
    )
    if layers and json is None:
        raise UsageError("--layers are written with --json; give that too")
    check_json(json, *models)
    check_plot(plot)

    def write(result: dict[str, Any]) -> None:
        if json != "-":
            emit_json(result, json)

    with Bar(quiet) as bar:
        result = bench(models, settings, Watching(bar, write))
    emit_json(result, json)
    if plot is not None:
        plot_throughput(result, plot)
    if not quiet and json != "-":
        print_bench(result)
    if result["failures"]:
        raise ModelError(_failed(result))


def _sizes(text: str | None) -> tuple[int, ...]:
    try:
        return () if text is None else tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--batch-size '{text}' is not numbers, as in 1,8,32") from error


def _failed(result: dict[str, Any]) -> str:
    first, *more = result["failures"]
    kept = f"what was measured before is kept ({len(result['rows'])} rows)"
    others = f" (and {len(more)} more)" if more else ""
    return f"{first['error']}{others}; {kept}"
