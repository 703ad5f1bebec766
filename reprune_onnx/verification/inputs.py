"""The inputs on which models are compared: random, and of two sizes where sizes are symbolic."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx

from reprune_onnx.errors import ModelError
from reprune_onnx.runtime.ort import Session
from reprune_onnx.runtime.random_inputs import random_inputs
from reprune_onnx.shapes import symbols
from reprune_onnx.verification.compare import Arrays
from reprune_onnx.verification.fed import FedSession

_LARGER = 32  # positions that a second size has more, where the model leaves sides open


def runs(
    proto: onnx.ModelProto, masked: Session | FedSession, shapes: dict[str, tuple[int, ...]]
) -> Iterator[tuple[Arrays, Arrays]]:
    """(inputs, expected outputs) of every input that the masked original accepts.

    The first must run. A second size need not: not every model with symbolic sizes takes any size.
    """
    for k, sizes in enumerate(_sizes(proto, shapes)):
        feeds = random_inputs(masked.inputs, sizes, np.random.default_rng(k))
        try:
            yield feeds, masked.run(feeds)
        except ModelError:
            if k == 0:
                raise


def _sizes(
    proto: onnx.ModelProto, shapes: dict[str, tuple[int, ...]]
) -> Iterator[dict[str, tuple[int, ...]]]:
    """The analysed size twice, then batch 2 and larger images where the model leaves them open."""
    yield shapes
    yield shapes
    known = symbols(proto)
    firsts = {axes[0] for axes in known.values() if axes}

    def larger(by: int) -> dict[str, tuple[int, ...]]:
        """The shapes with one more in a batch, and sides that are so much larger."""
        return {
            name: tuple(
                n if s is None else n + (1 if s in firsts else by)
                for n, s in zip(shape, known.get(name, (None,) * len(shape)), strict=True)
            )
            for name, shape in shapes.items()
        }

    other = larger(_LARGER)
    if other != shapes:
        yield other
    batch = larger(0)
    if batch not in (other, shapes):
        yield batch
