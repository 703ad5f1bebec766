"""The part of a file that is pruned, and its channels."""

from __future__ import annotations

from reprune_onnx.analyzer import Scope, channels_of, graph_of
from reprune_onnx.analyzer.dequantized import dequantized
from reprune_onnx.analyzer.functions import written_out
from reprune_onnx.errors import KernelError
from reprune_onnx.order import in_order
from reprune_onnx.results import Subject
from reprune_onnx.runtime.tail import Tail, find_tail
from reprune_onnx.settings import Settings
from reprune_onnx.types import Model


def subject_of(model: Model, settings: Settings) -> Subject:
    """Analyse what of ``model`` is pruned: all, or what stands before what ONNX Runtime lacks.

    Raises ModelError for a model of which nothing can be pruned, as `analyze` does.
    """
    source = in_order(model)
    tail = _tail(source, settings)
    model = source if tail is None else tail.head
    flat = written_out(model)
    quantized = dequantized(flat)
    if quantized is not None:
        flat = quantized.network
    graph = graph_of(flat)
    channels = channels_of(graph, scope_of(settings))
    if tail is not None:
        channels = tail.explained(channels)
    return Subject(source, model, flat, graph, channels, tail, quantized)


def scope_of(settings: Settings) -> Scope:
    """The part of the model that the settings allow to be pruned."""
    return Scope(
        residual=settings.residual,
        norm_statistics=settings.norm_statistics,
        include=settings.include,
        exclude=settings.exclude,
        input_shapes=dict(settings.input_shapes),
    )


def _tail(model: Model, settings: Settings) -> Tail | None:
    """Where a model ends for ONNX Runtime, which is not asked to run it where nothing is proven."""
    try:
        return find_tail(model)
    except KernelError:
        if settings.verify or settings.calibration is not None:
            raise
        return None
