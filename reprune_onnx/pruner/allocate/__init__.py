"""The number of channels that each group keeps, and a guard against extremes."""

from reprune_onnx.pruner.allocate.at_sparsity import at_sparsity
from reprune_onnx.pruner.allocate.guard import guard
from reprune_onnx.pruner.allocate.nearer import nearer
from reprune_onnx.pruner.allocate.nearest import nearest_within
from reprune_onnx.pruner.allocate.overrides import overrides
from reprune_onnx.pruner.allocate.quantile import all_equal, bn_gamma
from reprune_onnx.pruner.allocate.uniform import uniform
from reprune_onnx.pruner.allocate.widths import widths

__all__ = [
    "all_equal",
    "at_sparsity",
    "bn_gamma",
    "guard",
    "nearer",
    "nearest_within",
    "overrides",
    "uniform",
    "widths",
]
