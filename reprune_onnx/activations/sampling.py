"""The number of images, and of positions of each, that a layer is measured on.

A layer is fitted to as many samples as help. What its inputs are worth is seen from fewer, some
tens for each input. Positions of one image resemble each other, so only a part of them is looked
at. Their number is reached with as many images as that takes: few at the beginning of a network,
all of them behind the last pooling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, prod

import numpy as np
import onnx
from numpy.typing import NDArray

from reprune_onnx.activations.linear import Linear
from reprune_onnx.activations.stretch import Arrays
from reprune_onnx.runtime.ort import Session
from reprune_onnx.types import Ints

_TO_FIT = 40_000  # samples of any layer, where there are so many
_PER_INPUT = 24  # samples for each input of a layer that is only compared
_TO_COMPARE = 12_000, 20_000  # samples of any such layer
_SPREAD = 4  # one position in so many is looked at, where there are enough images
_EACH = 16  # positions of every image at least
_BATCHES = 4  # at least: fits to the even portions are tested on the odd ones
_TOGETHER = 16  # images of a portion at most, where batches are smaller


@dataclass(frozen=True)
class Look:
    """A tensor with channels along ``axis``, of which so many ``samples`` are wanted.

    One position in ``spread`` is looked at, where there are enough images.
    """

    tensor: str
    axis: int
    samples: int = _TO_COMPARE[0]
    spread: int = _SPREAD

    @classmethod
    def to_fit(cls, tensor: str, layer: Linear) -> Look:
        """Look at a tensor in which the outputs of ``layer`` lie, to fit the layer to it."""
        return cls(tensor, layer.axis, _TO_FIT)

    @classmethod
    def to_compare(cls, tensor: str, layer: Linear) -> Look:
        """Look at it to see what the layer's inputs are worth: that takes fewer samples."""
        least, most = _TO_COMPARE
        return cls(tensor, layer.axis, min(most, max(least, _PER_INPUT * layer.fan_in)))


@dataclass(frozen=True)
class Share:
    """The part of the images that a step looks at: ``each`` positions in the first ``batches``.

    So many batches ``together`` are a portion of the samples.
    """

    batches: int
    each: int
    together: int = 1

    @cached_property
    def portions(self) -> list[range]:
        """The batches of each portion."""
        return [
            range(b, min(b + self.together, self.batches))
            for b in range(0, self.batches, self.together)
        ]

    def places(self, positions: int, batch: int) -> Ints:
        """The positions (r,) of ``positions`` that are looked at, ascending; others per batch."""
        if positions <= self.each:
            return np.arange(positions)
        rng = np.random.default_rng([positions, batch])
        return np.sort(rng.choice(positions, self.each, replace=False))


def shares(proto: onnx.ModelProto, images: Sequence[Arrays], looks: Sequence[Look]) -> list[Share]:
    """Return the share of the images for every step, given what each looks at.

    From step to step the number of images rises to its largest and then falls, so that no image
    has to be computed twice.
    """
    if not looks:
        return []
    until = np.cumsum([len(next(iter(arrays.values()))) for arrays in images])
    shapes = _shapes(proto, images[0], [look.tensor for look in looks])
    wanted = [ceil(x.spread * x.samples / _positions(shapes[x.tensor], x.axis)) for x in looks]
    result = []
    for look, count in zip(looks, _one_hill(np.array(wanted)), strict=True):
        batches = max(_BATCHES, int(np.searchsorted(until, count)) + 1)
        batches = min(len(images), batches)
        together = max(1, min(_TOGETHER // int(until[0]), batches // _BATCHES))
        each = max(_EACH, ceil(look.samples / until[batches - 1]))
        result.append(Share(batches, each, together))
    return result


def _positions(shape: tuple[int, ...], axis: int) -> int:
    return max(1, prod(shape[1:]) // max(1, shape[axis]))


def _one_hill(counts: Ints) -> Ints:
    """The least numbers, none below ``counts``, that rise and then fall."""
    top = int(counts.argmax())
    rising = np.maximum.accumulate(counts[: top + 1])
    falling = np.maximum.accumulate(counts[top:][::-1])[::-1]
    return np.concatenate([rising, falling[1:]])


def _shapes(
    proto: onnx.ModelProto, feeds: Mapping[str, NDArray[np.generic]], names: Sequence[str]
) -> dict[str, tuple[int, ...]]:
    """The shapes of some tensors, which are not kept themselves."""
    shapes = {name: array.shape for name, array in feeds.items() if name in names}
    inner = sorted(set(names) - shapes.keys())
    if not inner:
        return shapes
    probe = onnx.ModelProto()
    probe.CopyFrom(proto)
    del probe.graph.output[:]
    for k, name in enumerate(inner):
        output = f"shape of {name} {k}"
        probe.graph.node.append(onnx.helper.make_node("Shape", [name], [output]))
        probe.graph.output.append(onnx.helper.make_tensor_value_info(output, 7, None))
    values = Session(probe, optimize=True).run(feeds)
    return shapes | {
        name: tuple(shape.tolist()) for name, shape in zip(inner, values.values(), strict=True)
    }
