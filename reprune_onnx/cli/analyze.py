"""`reprune-onnx analyze`."""

from __future__ import annotations

from reprune_onnx.cli.options import (
    Exclude,
    Include,
    InputShape,
    JsonFile,
    ModelArgument,
    NormStatistics,
    Quiet,
    Residual,
    check_json,
    emit_json,
)


def command(
    model: ModelArgument,
    residual: Residual = "keep",
    norm_statistics: NormStatistics = "lock",
    include: Include = None,
    exclude: Exclude = None,
    input_shape: InputShape = None,
    json: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Show which channels depend on each other, which can go, and why the rest stays."""
    from reprune_onnx.analyzer import Scope, channels_of, graph_of
    from reprune_onnx.model import load
    from reprune_onnx.report.analysis import describe
    from reprune_onnx.report.tables import print_analysis
    from reprune_onnx.shapes import parse_input_shapes

    check_json(json, model)
    scope = Scope(
        residual=residual,
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        input_shapes=parse_input_shapes(input_shape or []),
        norm_statistics=norm_statistics,
    )
    graph = graph_of(load(model))
    analysis = describe(graph, channels_of(graph, scope), str(model), residual)
    emit_json(analysis, json)
    if not quiet and json != "-":
        print_analysis(analysis)
