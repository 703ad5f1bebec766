"""A layer's weight as the kernels that Algorithm 1 clusters: F (n_out, n_in, d), d = kh·kw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.types import Filters, Ints


def filters(
    weight: NDArray[np.generic],
    rows: Sequence[Ints],
    out_axis: int,
    conv_groups: int = 1,
    transposed: bool = False,
    inputs: Ints | None = None,
) -> tuple[Filters, ...]:
    """Return the filters that ``weight`` gives the channels of a group.

    ``weight`` is a Conv's (n_out, n_in/g, *k) with ``out_axis`` 0, a ConvTranspose's
    (n_in, n_out/g, *k) with ``transposed``, or a matrix with ``out_axis`` 0 or 1 (then d = 1).
    ``rows[i]`` are the output channels that make channel i; in a ConvTranspose of g groups, output
    channel o is slot ``o % (n_out/g)`` of group ``o // (n_out/g)``.

    * A channel made of no row has no filter here.
    * The rows of a channel made of r > 1 stand side by side, as one filter of r·n_in kernels.
      Where r differs between channels there is one ``Filters`` for each r, in ascending order:
      kernels are compared among channels of the same make.
    * In a grouped Conv the filters of different groups see different inputs; slot j is compared
      with slot j all the same.
    * ``inputs`` are the input channels to look at, as positions on the weight's input axis
      (n_in/g long); by default all of them.

    >>> F = np.arange(12.0).reshape(3, 2, 1, 2)  # three filters of two 1×2 kernels
    >>> (part,) = filters(F, rows=[np.array([0]), np.array([]), np.array([2])], out_axis=0)
    >>> part.kernels.shape, part.channels.tolist()
    ((2, 2, 2), [0, 2])
    """
    F = _untranspose(weight, conv_groups) if transposed else np.moveaxis(weight, out_axis, 0)
    K = F.reshape(F.shape[0], F.shape[1], -1)  # (n_out, n_in/g, d)
    if inputs is not None:
        K = K[:, inputs]

    counts = np.array([len(r) for r in rows], dtype=np.int64)
    return tuple(
        _side_by_side(K, rows, np.flatnonzero(counts == r)) for r in np.unique(counts) if r
    )


def _untranspose(weight: NDArray[np.generic], g: int) -> NDArray[np.generic]:
    """Return a ConvTranspose's (n_in, n_out/g, *k) in a Conv's layout, (n_out, n_in/g, *k)."""
    n_in, slots, *k = weight.shape
    by_group: NDArray[np.generic] = weight.reshape(g, n_in // g, slots, *k).swapaxes(1, 2)
    return by_group.reshape(g * slots, n_in // g, *k)


def _side_by_side(K: NDArray[np.generic], rows: Sequence[Ints], channels: Ints) -> Filters:
    """Return the filters of ``channels``, which all have the same number of rows in K."""
    stacked = K[np.stack([rows[c] for c in channels])]  # (m, r, n_in, d)
    m, r, n_in, d = stacked.shape
    return Filters(stacked.reshape(m, r * n_in, d).astype(np.float64), channels)
