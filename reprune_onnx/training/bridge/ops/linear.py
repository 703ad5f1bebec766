"""Products of matrices."""

from __future__ import annotations

import torch
from torch import Tensor

from reprune_onnx.training.bridge.node import Function, Node


def gemm(node: Node) -> Function:
    """Gemm: alpha · A B + beta · C."""
    alpha, beta = node.attr("alpha", 1.0), node.attr("beta", 1.0)
    a_turned, b_turned = node.attr("transA", 0), node.attr("transB", 0)

    def run(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        a, b = a.T if a_turned else a, b.T if b_turned else b
        if c is not None and alpha == 1.0 and beta == 1.0 and c.ndim == 1:
            return torch.addmm(c, a, b)
        y = alpha * (a @ b)
        return y if c is None else y + beta * c

    return run


def matmul(node: Node) -> Function:
    """MatMul, batched or not."""
    del node
    return torch.matmul


def einsum(node: Node) -> Function:
    """Einsum."""
    equation = node.attr("equation").replace(" ", "")
    return lambda *tensors: torch.einsum(equation, *tensors)
