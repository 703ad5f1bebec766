"""Data-free recovery: what the dropped channels gave on average, the kept ones give instead.

A BatchNormalization says how its output is distributed: per channel, mean β and standard deviation
|γ|. With Gaussian values, and the cosine of two filters as the correlation of what they make, the
mean μ and the covariance Σ of the channels after an activation f follow (Mehler's formula):

    μ_i = E f(β_i + γ_i·u)
    Σ_ij = Σ_k c_k(i)·c_k(j)·ρ_ij^k/k!        c_k(i) = E f(β_i + γ_i·u)·He_k(u)

Given the kept channels S, a dropped channel R is expected to be μ_R + A·(x_S - μ_S) with
A = Σ_RS·(Σ_SS + λ·I)⁻¹, at every place of the kernel alike. So a layer that reads them gets

    W_S ← W_S + W_R·A          b ← b + W_R·(μ_R - A·μ_S)        (summed over the kernel)

Channels whose filters point the same way are folded into each other; the others leave their mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import factorial, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.activations.joint import limits, only_reader
from reprune_onnx.activations.linear import Linear
from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.analyzer.op_kinds import SAME_VALUES
from reprune_onnx.recovery.plan import Step
from reprune_onnx.surgeon.whole_branches import constants_behind
from reprune_onnx.types import Bools, ChannelMap, Floats, Model
from reprune_onnx.verification.compare import kept_part

_RIDGE = 0.05  # of the mean variance: correlations are rough
_TERMS = 8  # of Mehler's series
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(96)
_PASSING = SAME_VALUES | {"GlobalAveragePool", "AveragePool", "MaxPool"}


@dataclass(frozen=True)
class _Gaussian:
    """Before an activation: ``beta``, ``gamma`` (n,) and correlations ``rho (n, n)``."""

    beta: Floats
    gamma: Floats
    rho: Floats


@dataclass(frozen=True)
class _Channels:
    """Means (n,) and covariance (n, n) of the channels of a tensor."""

    mean: Floats
    covariance: Floats


def correct(
    pruned: Model, graph: Graph, channels: ChannelMap, keep: Bools, steps: Sequence[Step]
) -> dict[str, NDArray[Any]]:
    """Return new values, by name, for the ``steps`` that read dropped channels of known statistics.

    ``pruned`` is what is left of ``graph``, which ``channels`` describe, once only the units
    ``keep (n_units,)`` stay. So the constants that stand for whole branches get new values.
    """
    left = Graph(pruned)
    sites = {(s.node, s.input): s for s in channels.sites if s.role == "in"}
    layers = {o: x for x in channels.layers for o in graph.ops[x.node].outputs}
    values: dict[str, NDArray[Any]] = {}
    for step in steps:
        layer = layers[step.layer.op.result]
        site = sites.get((layer.node, layer.input))
        if site is None or keep[site.ids].all() or step.layer.groups > 1:
            continue
        stays = keep[site.ids]
        op = graph.ops[layer.node]
        inputs = _channels(graph, op.inputs[0], layers)
        if inputs is None or len(inputs.mean) != len(stays):
            continue
        matrix = Linear(op, layer.shape).matrix(graph.array(layer.weight))[0]
        W = matrix.reshape(len(matrix), len(stays), -1)[np.ix_(step.kept)]  # (n_out', n_in, taps)
        A = _regression(inputs.covariance, stays)
        new = W[:, stays] + np.einsum("ort,rs->ost", W[:, ~stays], A)
        values[step.weight] = step.layer.weight(new.reshape(1, len(new), -1))
        if step.intercept is not None:
            rest = inputs.mean[~stays] - A @ inputs.mean[stays]
            b = np.einsum("ort,r->o", W[:, ~stays], rest) / _phases(step.layer)
            values[step.intercept.tensor] = step.intercept.shifted(left, b)
    for branch in channels.branches_gone(keep):
        for node in branch.closing:
            behind = _constants(graph, channels, node, keep, layers)
            values |= {name: behind[name] for name in branch.ends if name in behind}
    return {name: v.astype(left.array(name).dtype) for name, v in values.items()}


def _constants(
    graph: Graph, channels: ChannelMap, node: int, keep: Bools, layers: dict[str, Any]
) -> dict[str, NDArray[Any]]:
    """What stands for a branch that is gone, where its last layer gives what it is expected to.

    That is what a BatchNormalization behind it states, or what it makes of the expected inputs.
    """
    op = graph.ops[node]
    reader = only_reader(graph, op.result)
    if reader is not None and reader.type == "BatchNormalization":
        y = graph.array(reader.inputs[3]).astype(np.float64)
    else:
        inputs, layer = _channels(graph, op.inputs[0], layers), layers[op.result]
        linear = Linear(op, layer.shape)
        if inputs is None or linear.groups > 1:
            return {}
        W = linear.matrix(graph.array(layer.weight))[0].reshape(linear.n_out, len(inputs.mean), -1)
        y = linear.bias(graph) + np.einsum("ort,r->o", W, inputs.mean) / _phases(linear)
    behind = constants_behind(graph, channels, node, graph, y)
    return {
        name: kept_part(array, channels.tensors[name].ids, keep) for name, array in behind.items()
    }


def _phases(layer: Linear) -> int:
    """A ConvTranspose with stride s uses one in s taps, others for every s-th output."""
    transposed = layer.op.type == "ConvTranspose"
    return prod(layer.op.attrs.get("strides", [])) if transposed else 1


def _regression(covariance: Floats, stays: Bools) -> Floats:
    """A (dropped, kept)."""
    S = covariance[np.ix_(stays, stays)]
    ridge = _RIDGE * float(np.trace(S)) / max(1, len(S))
    cross = covariance[np.ix_(~stays, stays)]
    if ridge <= 0:
        return np.zeros_like(cross)
    A: Floats = np.linalg.solve(S + ridge * np.eye(len(S)), cross.T).T
    return A


# ── the distribution of a tensor's channels ─────────────────────────────────────────────────────


def _channels(graph: Graph, name: str, layers: dict[str, Any]) -> _Channels | None:
    """Follow a tensor back to the BatchNormalization that it comes from."""
    functions: list[Any] = []
    op = graph.producer(name)
    while op is not None and op.type != "BatchNormalization":
        if op.type == "Concat" and int(op.attrs.get("axis", 1)) == 1 and not functions:
            return _concatenated([_channels(graph, i, layers) for i in op.inputs])
        f = _function(graph, op)
        if f is None and op.type not in _PASSING:
            return None
        if f is not None:
            functions.insert(0, f)
        op = graph.producer(op.inputs[0])
    if op is None or not all(map(graph.is_constant, op.inputs[1:3])):
        return None
    gamma, beta = (graph.array(i).astype(np.float64).ravel() for i in op.inputs[1:3])
    return _moments(_Gaussian(beta, gamma, _correlation(graph, op, layers, gamma)), functions)


def _concatenated(parts: list[_Channels | None]) -> _Channels | None:
    stated = [p for p in parts if p is not None]
    if len(stated) < len(parts):
        return None
    from scipy.linalg import block_diag

    return _Channels(
        np.concatenate([p.mean for p in stated]), block_diag(*[p.covariance for p in stated])
    )


def _correlation(graph: Graph, bn: Op, layers: dict[str, Any], gamma: Floats) -> Floats:
    """The cosines of the filters before a BatchNormalization, with γ's signs; or the identity."""
    layer = layers.get(bn.inputs[0])
    if layer is None or layer.conv_groups > 1 or layer.op == "MatMul" or layer.more:
        return np.eye(len(gamma))
    F = Linear(graph.ops[layer.node], layer.shape).matrix(graph.array(layer.weight))[0]
    F = F * np.sign(gamma)[:, None]
    norms = np.linalg.norm(F, axis=1, keepdims=True)
    F = F / np.where(norms > 0, norms, 1.0)
    rho: Floats = F @ F.T
    np.fill_diagonal(rho, 1.0)
    return rho


def _moments(z: _Gaussian, functions: list[Any]) -> _Channels:
    """Means and covariances after the activations, by quadrature and Mehler's formula."""
    u, w = _NODES, _WEIGHTS / _WEIGHTS.sum()
    values = z.beta[:, None] + np.abs(z.gamma)[:, None] * u  # (n, nodes)
    for f in functions:
        values = f(values)
    mean = values @ w
    covariance = np.zeros_like(z.rho)
    for k in range(1, _TERMS + 1):
        c = (values * np.polynomial.hermite_e.HermiteE.basis(k)(u)) @ w
        covariance += np.outer(c, c) * z.rho**k / factorial(k)
    np.fill_diagonal(covariance, (values**2) @ w - mean**2)
    return _Channels(mean, covariance)


def _function(graph: Graph, op: Op) -> Any:
    """An element-wise op as a numpy function; None for any other op."""
    a = op.attrs
    simple = {
        "Relu": lambda x: np.maximum(x, 0),
        "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
        "Tanh": np.tanh,
        "HardSwish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
        "HardSigmoid": lambda x: np.clip(a.get("alpha", 0.2) * x + a.get("beta", 0.5), 0, 1),
        "LeakyRelu": lambda x: np.where(x < 0, a.get("alpha", 0.01) * x, x),
        "Elu": lambda x: np.where(x < 0, a.get("alpha", 1.0) * np.expm1(np.minimum(x, 0)), x),
    }
    if op.type == "Clip":
        if not all(graph.is_constant(i) for i in op.inputs[1:] if i):
            return None
        low, high = limits(graph, op)
        return lambda x: np.clip(x, low, high)
    return simple.get(op.type)
