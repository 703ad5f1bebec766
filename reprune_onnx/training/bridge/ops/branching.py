"""If: both branches are modules, and the condition decides in every step which one is computed."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from reprune_onnx.training.bridge.node import Function, Node


def branch(node: Node) -> Function:
    """If; behind the condition come the tensors that the branches read from around them."""
    then, other = node.branches

    def compute(condition: Tensor, *outer: Any) -> Any:
        chosen = then if bool(condition.reshape(-1)[0]) else other
        return chosen(*outer)

    return compute
