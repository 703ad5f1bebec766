"""A layer's weight as filters, whatever the layout of its op."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.pruner.select.kernels import filters
from reprune_onnx.types import Filters, Ints, Layer


def layer_filters(
    graph: Graph, layer: Layer, rows: Sequence[Ints], inputs: Ints | None = None
) -> tuple[Filters, ...]:
    """Return the filters of ``layer`` for channels made by ``rows``, as `filters` does.

    A hidden unit of a recurrent layer is one filter: its kernel for input j has its weights of all
    gates and directions, so d = D·G.
    """
    weight: NDArray[Any] = graph.array(layer.weight)
    axis = layer.out_axis
    if layer.more:
        weight, axis = _by_unit(weight, len(layer.out_ids)), 0
    transposed = layer.op == "ConvTranspose"
    return filters(weight, rows, axis, layer.conv_groups, transposed, inputs)


def _by_unit(weight: NDArray[Any], n: int) -> NDArray[Any]:
    """W (D, G·n, n_in), gate after gate, as (n, n_in, D, G)."""
    directions, rows, n_in = weight.shape
    by_gate = weight.reshape(directions, rows // n, n, n_in)
    units: NDArray[Any] = by_gate.transpose(2, 3, 0, 1)
    return units
