"""A layer as the linear map that it is: y = W·x at every position of its output.

x are the values under the kernel, ordered by input channel and then by place in the kernel, so that
a layer with g groups is g matrices W (n_out/g, D) with D = n_in/g · kernel size. A ConvTranspose is
the convolution, with the kernel turned round, of its input with zeros between the values. Of a
recurrent layer it is W·x that is linear: what the input adds to every gate of every direction; of
attention in one node, the queries, keys and values.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.analyzer.op_kinds import CONVOLUTIONS, GATES
from reprune_onnx.types import Bools, Floats, Ints

Array = NDArray[Any]
"""The ops that `Linear` describes."""


@dataclass(frozen=True)
class Linear:
    """A layer with a weight of shape ``shape``, whose op is one of `FITTED`."""

    op: Op
    shape: tuple[int, ...]

    @property
    def groups(self) -> int:
        """The number of matrices."""
        return int(self.op.attrs.get("group", 1)) if self._is_conv else 1

    @property
    def n_out(self) -> int:
        """The number of output channels."""
        if self.op.type == "Conv":
            return self.shape[0]
        if self.op.type == "ConvTranspose":
            return self.shape[1] * self.groups
        if self.recurrent:
            return self.shape[0] * self.shape[1]
        return self.shape[0 if self._transposed else 1]

    @property
    def fan_in(self) -> int:
        """The number D of inputs that each output is computed from."""
        if self.op.type == "Conv":
            return prod(self.shape[1:])
        if self.op.type == "ConvTranspose":
            return self.shape[0] // self.groups * prod(self.kernel)
        return self.shape[-1 if self._transposed or self.recurrent else 0]

    @property
    def kernel(self) -> tuple[int, ...]:
        """The kernel's extents; () for a matrix."""
        return self.shape[2:] if self._is_conv else ()

    @property
    def axis(self) -> int:
        """The axis of an output along which its channels lie."""
        return 1 if self._is_conv else -1

    @property
    def trailing(self) -> int:
        """The number of axes of an output that come after its channels."""
        return len(self.kernel)

    @property
    def recurrent(self) -> bool:
        """Whether its outputs (D·G·H), by direction and then by gate, are in no tensor."""
        return self.op.type in GATES

    @property
    def hidden(self) -> bool:
        """Whether its outputs are in no tensor, as they never leave the node."""
        return self.recurrent or self.op.type == "Attention"

    @property
    def _is_conv(self) -> bool:
        return self.op.type in CONVOLUTIONS

    @property
    def _transposed(self) -> bool:
        return self.op.type == "Gemm" and bool(self.op.attrs.get("transB", 0))

    # ── the weight ──────────────────────────────────────────────────────────────────────────

    def matrix(self, weight: Array) -> Array:
        """The weight as W (g, n_out/g, D), float64."""
        w = weight.astype(np.float64)
        if self.op.type == "Conv":
            return w.reshape(self.groups, w.shape[0] // self.groups, -1)
        if self.op.type == "ConvTranspose":
            n_in, slots, *k = w.shape
            w = w.reshape(self.groups, n_in // self.groups, slots, *k)
            turned = np.flip(w.swapaxes(1, 2), axis=tuple(range(3, w.ndim)))
            W: Array = turned.reshape(self.groups, slots, -1)
            return W
        if self.recurrent:
            return w.reshape(1, self.n_out, -1)
        return np.asarray(self._alpha * (w if self._transposed else w.T)[None])

    def weight(self, matrix: Array) -> Array:
        """The inverse of `matrix`."""
        if self.op.type == "Conv":
            return matrix.reshape(self.shape)
        if self.op.type == "ConvTranspose":
            n_in, slots, *k = self.shape
            turned = matrix.reshape(self.groups, slots, n_in // self.groups, *k)
            w: Array = np.flip(turned, axis=tuple(range(3, turned.ndim))).swapaxes(1, 2)
            return w.reshape(self.shape)
        if self.recurrent:
            return matrix.reshape(self.shape)
        w = matrix[0] / self._alpha
        return w if self._transposed else w.T

    def has_plain_bias(self, graph: Graph) -> bool:
        """Whether what the node itself adds is one constant per output channel, if anything.

        A Gemm may add a matrix that differs from row to row, or an activation.
        """
        if not self.adds:
            return True
        if not graph.is_constant(self.op.inputs[2]):
            return False
        shape = graph.shape(self.op.inputs[2])
        return prod(shape) == 1 or prod(shape) == shape[-1] == self.n_out

    @property
    def adds(self) -> bool:
        """Whether its third input is added to the outputs."""
        return self.op.type != "MatMul" and not self.recurrent and self.op.has(2)

    def bias(self, graph: Graph) -> Floats:
        """The bias that the node adds to its outputs (n_out,); zeros where it adds no plain one."""
        bias = np.zeros(self.n_out)
        if self.adds and self.has_plain_bias(graph):
            added = graph.array(self.op.inputs[2]).astype(np.float64).reshape(-1)
            bias += added * float(self.op.attrs.get("beta", 1.0))
        return bias

    @property
    def _alpha(self) -> float:
        return float(self.op.attrs.get("alpha", 1.0))

    # ── the samples ─────────────────────────────────────────────────────────────────────────

    def positions(self, y: Array) -> int:
        """The number of positions per image of an output y."""
        return prod(y.shape[2:] if self._is_conv else y.shape[1:-1])

    def outputs(self, y: Array, at: Ints) -> Array:
        """Rows (r, n_out) of an output y, at positions ``at`` of every image."""
        if self._is_conv:
            y = y.reshape(*y.shape[:2], -1).swapaxes(1, 2)
        rows: Array = y.reshape(y.shape[0], -1, y.shape[-1])[:, at].reshape(-1, y.shape[-1])
        return rows

    def inputs(self, x: Array, y_shape: tuple[int, ...], at: Ints) -> Array:
        """Rows X (g, r, D) of an input x, for positions ``at`` of an output of that shape."""
        if not self._is_conv:
            return x.reshape(x.shape[0], -1, x.shape[-1])[:, at].reshape(1, -1, x.shape[-1])
        place, inside = self._places(x.shape[2:], y_shape[2:], at)  # (r, k)
        (b, c), (r, k), g = x.shape[:2], place.shape, self.groups
        taken = x.reshape(b, c, -1)[:, :, place.reshape(-1)].reshape(b, g, c // g, r, k)
        if not inside.all():
            taken[:, :, :, ~inside] = 0
        rows: Array = taken.transpose(1, 0, 3, 2, 4)
        return rows.reshape(g, b * r, -1)

    def _places(
        self, extents: tuple[int, ...], size: tuple[int, ...], at: Ints
    ) -> tuple[Ints, Bools]:
        """The values under the kernel: where (r, k) in an input, flattened, and whether there.

        A ConvTranspose reads its input with zeros between the values, so that of a kernel only the
        taps lie at a value whose place is a multiple of the stride.
        """
        rank = len(size)
        strides = tuple(self.op.attrs.get("strides", [1] * rank))
        dilations = tuple(self.op.attrs.get("dilations", [1] * rank))
        reach = [(n - 1) * d + 1 for n, d in zip(self.kernel, dilations, strict=True)]
        before = self._before(extents, size, strides, reach)
        apart = (1,) * rank  # from value to value
        if self.op.type == "ConvTranspose":
            before = [r - 1 - p for r, p in zip(reach, before, strict=True)]
            strides, apart = apart, strides
        taps = np.unravel_index(np.arange(prod(self.kernel)), self.kernel)
        place = np.zeros((len(at), prod(self.kernel)), dtype=np.int64)
        inside = np.ones(place.shape, dtype=np.bool_)
        for a, start in enumerate(np.unravel_index(at, size)):
            reads = start[:, None] * strides[a] - before[a] + taps[a] * dilations[a]
            value, between = np.divmod(reads, apart[a])
            inside &= (between == 0) & (value >= 0) & (value < extents[a])
            place = place * extents[a] + np.clip(value, 0, extents[a] - 1)
        return place, inside

    def _before(
        self,
        n: tuple[int, ...],
        size: tuple[int, ...],
        strides: tuple[int, ...],
        reach: list[int],
    ) -> list[int]:
        """The padding before the first value of every axis."""
        auto = self.op.attrs.get("auto_pad", b"NOTSET").decode()
        transposed = self.op.type == "ConvTranspose"
        sized = transposed and "output_shape" in self.op.attrs  # pads follow, whatever is stated
        if auto in ("NOTSET", "") and not sized:
            return list(self.op.attrs.get("pads", [0] * 2 * len(size)))[: len(size)]
        if auto == "VALID" and not sized:
            return [0] * len(size)
        small, large = (n, size) if transposed else (size, n)
        more = self.op.attrs.get("output_padding", [0] * len(size)) if transposed else [0] * len(n)
        total = [
            max(0, (o - 1) * s + r + m - i)
            for i, o, s, r, m in zip(large, small, strides, reach, more, strict=True)
        ]
        # For ConvTranspose the larger half of SAME_UPPER goes to the end as well (opset 11 on).
        return [t // 2 if auto == "SAME_UPPER" else t - t // 2 for t in total]
