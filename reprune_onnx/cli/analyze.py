"""`reprune-onnx analyze`."""

from __future__ import annotations

from typing import Any

from reprune_onnx.cli.declared import with_settings
from reprune_onnx.cli.options import JsonFile, ModelArgument, Quiet, check_json, emit_json


@with_settings("residual", "norm_statistics", "include", "exclude", "input_shapes", into="given")
def command(
    model: ModelArgument,
    given: dict[str, Any],
    json: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Show which channels can go, which of them only together, and why the others stay."""
    from reprune_onnx.analyzer import Scope, channels_of, graph_of
    from reprune_onnx.analyzer.dequantized import float_network
    from reprune_onnx.model import load
    from reprune_onnx.report.analysis import describe
    from reprune_onnx.report.tables import print_analysis

    check_json(json, model)
    globs: dict[str, Any] = {name: tuple(given.pop(name)) for name in ("include", "exclude")}
    scope = Scope(**given, **globs)
    graph = graph_of(float_network(load(model)))
    analysis = describe(graph, channels_of(graph, scope), str(model), scope.residual)
    emit_json(analysis, json)
    if not quiet and json != "-":
        print_analysis(analysis)
