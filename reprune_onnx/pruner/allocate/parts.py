"""Parts of a group, and how many channels of each stay, so that every layer's width suits a device.

Behind a shortcut that pads with zeros, or a shuffle, layers have only some of a group's channels.
Channels that the same layers have are a part of it. A layer is as wide as what stays of its parts:
a suitable number of the group's channels makes no suitable width by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reprune_onnx.rounding import Rounding
from reprune_onnx.types import Bools, ChannelMap, Group, Ints

_MOST = 64  # parts
_NODES = 10_000  # of the search tree: it ends, and where does not depend on the machine


@dataclass(frozen=True)
class Parts:
    """``of (n,)`` is the part of each channel; ``has (axes, parts)`` says which parts an axis has.

    It is how often the axis has each of the part's channels, so its width is Σ_p has[a, p]·size[p].
    """

    of: Ints
    has: Ints

    @property
    def size(self) -> Ints:
        """The number of channels of each part."""
        return self.count(np.ones(len(self.of), dtype=np.bool_))

    def count(self, which: Bools) -> Ints:
        """The number of ``which (n,)`` in each part."""
        return np.bincount(self.of[which], minlength=self.has.shape[1])


def parts(channels: ChannelMap, group: Group) -> Parts:
    """The parts of a group, by the axes of weights that have them, and what may not become empty.

    Axes that have channels of other groups too are left out.
    """
    position = np.full(channels.n_units, -1)
    position[group.units] = np.arange(group.n)
    layers = {(layer.node, layer.input) for layer in channels.layers}
    axes = {(1,) * group.n}
    axes |= {tuple(np.bincount(at, minlength=group.n).tolist()) for at in group.nonempty}
    for site in channels.sites:
        if (site.node, site.input) in layers:
            at = position[site.ids]
            if (at >= 0).all():
                axes.add(tuple(np.bincount(at, minlength=group.n).tolist()))
    rows = np.array(sorted(axes))
    has, of = np.unique(rows, axis=1, return_inverse=True)
    return Parts(of.ravel(), has)


def suitable(split: Parts, wanted: Ints, least: Ints, rounding: Rounding) -> Ints:
    """Return how many channels of each part stay (parts,), so that all axes get suitable widths.

    The group as a whole keeps as near to the ``wanted (parts,)`` as possible, a step s of its n
    channels away at most; so does then each part, and not fewer than ``least (parts,)``. With u_a
    multiples of the step s_a of an axis of n_a channels, which is left whole where z_a = 1,
    c minimises

        n·t + Σ_p |c_p - wanted_p|  subject to  |Σ_p c_p - Σ_p wanted_p| ≤ t ≤ s  and, for every a,
        Σ_p has[a, p]·c_p = s_a·u_a + (n_a mod s_a)·z_a  and  u_a ≥ max(1, z_a·⌊n_a/s_a⌋)

    where ⌊n_a/s_a⌋ = 0 an axis stays whole. Returns ``wanted`` where there is no such c.
    """
    n_axes, n_parts = split.has.shape
    if n_parts > _MOST:
        return wanted
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import block_array, diags_array, eye_array

    size = split.size
    n = split.has @ size
    step = np.array([rounding.step(int(k)) for k in n])
    most, rest = n // step, n % step
    # Variables: c, u, z, and by how much parts and the group differ.
    has, one = split.has.astype(float), np.ones((1, n_parts))
    rows = block_array(
        [
            [has, -diags_array(step.astype(float)), -diags_array(rest.astype(float)), None, None],
            [None, eye_array(n_axes), -diags_array(most.astype(float)), None, None],
            [eye_array(n_parts), None, None, eye_array(n_parts), None],
            [-eye_array(n_parts), None, None, eye_array(n_parts), None],
            [one, None, None, None, one[:, :1]],
            [-one, None, None, None, one[:, :1]],
        ]
    )
    total = wanted.sum(keepdims=True)
    low = np.concatenate([np.zeros(2 * n_axes), wanted, -wanted, total, -total])
    high = np.concatenate([np.zeros(n_axes), np.full(len(low) - n_axes, np.inf)])
    result = milp(
        np.concatenate([np.zeros(n_parts + 2 * n_axes), np.ones(n_parts), [len(split.of)]]),
        integrality=np.concatenate([np.ones(n_parts + 2 * n_axes), np.zeros(n_parts + 1)]),
        bounds=Bounds(
            np.concatenate([least, np.minimum(1, most), most == 0, np.zeros(n_parts + 1)]),
            np.concatenate(
                [size, most, np.ones(n_axes), size, [rounding.step(len(split.of))]], dtype=float
            ),
        ),
        constraints=LinearConstraint(rows, low, high),
        options={"node_limit": _NODES},
    )
    if result.x is None:
        return wanted
    numbers: Ints = np.rint(result.x[:n_parts]).astype(np.int64)
    return numbers
