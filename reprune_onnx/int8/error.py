"""By how much a quantized network's tensors differ, channel by channel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.activations.images import Images
from reprune_onnx.runtime.ort import Session
from reprune_onnx.types import Floats, Model

_LEAST = 1e-3  # of the mean variance: what a channel of an output varies by at least
_BATCHES = 16  # of images, spread over all
_BYTES = 1 << 28  # of outputs that are held


class ChannelError:
    """The mean of Σ(y' - y)²/Σ(y - ȳ)² over the channels of arrays (n, …), batch after batch.

    Channels lie along the axis of fewest values that is not the first and has more than one, as the
    columns of a detector's raw output do: coordinates vary more than scores, and both count. One
    that hardly varies counts as if it varied by the share ``least`` of the mean.
    """

    def __init__(self, y: NDArray[Any], least: float = _LEAST) -> None:
        """``y`` is one of the arrays, which has their rank and their channels."""
        self._least = least
        axes = [k for k in range(1, y.ndim) if y.shape[k] > 1]
        self._along = min(axes, key=lambda k: y.shape[k]) if axes else None
        self._n = 0
        self._sums = np.zeros((3, y.shape[self._along] if self._along is not None else 1))

    def add(self, y: NDArray[Any], other: NDArray[Any]) -> None:
        """Take in a batch of the float network's values, and what the quantized one has there."""
        a, b = self._rows(y), self._rows(other)
        self._n += len(a)
        self._sums += [a.sum(axis=0), (a**2).sum(axis=0), ((b - a) ** 2).sum(axis=0)]

    def value(self) -> float:
        """The error; 0 where nothing varies."""
        total, squares, error = self._sums / max(1, self._n)
        variance = np.maximum(squares - total**2, 0.0)
        least = self._least * variance.mean()
        return float((error / np.maximum(variance, least)).mean()) if least > 0 else 0.0

    def _rows(self, y: NDArray[Any]) -> Floats:
        """The values (r, channels)."""
        y = y.astype(np.float64)
        if self._along is None:
            return y.reshape(-1, 1)
        moved: Floats = np.moveaxis(y, self._along, -1)
        return moved.reshape(-1, moved.shape[-1])


class Reference:
    """The float outputs of a model on images, from which others differ.

    At most sixteen batches are looked at, and as many as a quarter of a gigabyte of outputs holds.
    """

    def __init__(self, model: Model, images: Images) -> None:
        session = Session(model.proto, optimize=True, use="in turns")
        self._names = [
            o.name for o in session.outputs if o.dtype is not None and o.dtype.kind == "f"
        ]
        self._expected = []
        held = 0
        for feeds in images.batches[:: -(-len(images.batches) // _BATCHES)]:
            outputs = session.run(feeds, self._names)
            self._expected.append((feeds, outputs))
            held += sum(array.nbytes for array in outputs.values())
            if held > _BYTES:
                break

    def error_of(self, model: Model) -> float | None:
        """The mean of a model's `ChannelError` over the outputs.

        None where there are none, or none of the same shape.
        """
        session = Session(model.proto, optimize=True, use="in turns")
        errors = {name: ChannelError(self._expected[0][1][name]) for name in self._names}
        for feeds, outputs in self._expected:
            results = session.run(feeds, list(errors)) if errors else {}
            for name in list(errors):
                if not _alike(outputs[name], results[name], self._expected[0][1][name]):
                    del errors[name]
                    continue
                errors[name].add(outputs[name], results[name])
        return float(np.mean([e.value() for e in errors.values()])) if errors else None


def _alike(y: NDArray[Any], other: NDArray[Any], first: NDArray[Any]) -> bool:
    """Whether two outputs have the same shape, and but for the batch that of the first image."""
    return y.shape == other.shape and y.ndim == first.ndim and y.shape[1:] == first.shape[1:]
