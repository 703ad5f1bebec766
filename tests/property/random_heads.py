"""The last layers of a random network."""

from __future__ import annotations

from collections.abc import Callable

from random_nets import Net
from random_recipes import BATCH, Head


def _gemm(net: Net, x: str, n_in: int, n: int, transposed: bool) -> str:
    weight = net.normal(*((n, n_in) if transposed else (n_in, n)), fan_in=n_in)
    bias = net.normal(n, fan_in=25.0)
    return net.node("Gemm", [x, weight, bias], (n, 1), transB=int(transposed))


def _flatten_head(net: Net, x: str) -> str:
    n, side = net.shapes[x]
    flat = net.node("Flatten", [x], (n * side * side, 1), axis=1)
    hidden = net.act(_gemm(net, flat, n * side * side, 6, transposed=True), 0)
    return _gemm(net, hidden, 6, 4, transposed=False)


def _reshape_head(net: Net, x: str) -> str:
    n, side = net.shapes[x]
    flat = net.node("Reshape", [x, net.integers(BATCH, n * side * side)], (n * side * side, 1))
    return _gemm(net, flat, n * side * side, 4, transposed=False)


def _pool_head(net: Net, x: str) -> str:
    n = net.shapes[x][0]
    pooled = net.node("GlobalAveragePool", [x], (n, 1))
    return _gemm(net, net.node("Flatten", [pooled], (n, 1)), n, 4, transposed=True)


def _conv_head(net: Net, x: str) -> str:
    return net.conv(x, 3, k=1)


def _matmul_head(net: Net, x: str) -> str:
    """The matrix is stored transposed, and transposed by the graph."""
    n = net.shapes[x][0]
    pooled = net.reduce("ReduceMean", x, [2, 3], keepdims=0)
    weight = net.transpose(net.normal(6, n, fan_in=n), 1, 0)
    hidden = net.act(net.node("MatMul", [pooled, weight], (6, 1)), 0)
    y = net.node("MatMul", [hidden, net.normal(6, 4, fan_in=6)], (4, 1))
    return net.add(y, net.normal(4, fan_in=25.0))


HEADS: dict[Head, Callable[[Net, str], str]] = {
    "flatten": _flatten_head,
    "reshape": _reshape_head,
    "pool": _pool_head,
    "conv": _conv_head,
    "matmul": _matmul_head,
}
