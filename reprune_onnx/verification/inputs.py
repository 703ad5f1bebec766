"""The inputs on which models are compared: random, and of two sizes where sizes are symbolic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx

from reprune_onnx.errors import ModelError
from reprune_onnx.runtime.ort import Session
from reprune_onnx.runtime.random_inputs import DRAWS, Draw, random_inputs
from reprune_onnx.shapes import symbols
from reprune_onnx.verification.bound import HEAVY
from reprune_onnx.verification.branches import branch_values
from reprune_onnx.verification.compare import Arrays
from reprune_onnx.verification.fed_model import FedSession

Sizes = dict[str, tuple[int, ...]]

_LARGER = 32  # positions that a second size has more, where the model leaves sides open
_GROWN = 2  # times as much as is heavy, a run of another size may be
_ROWS = 2  # of the user's images, in a batch


@dataclass(frozen=True)
class Kind:
    """Inputs of one kind: drawn, with ``given`` ones put in their place where there are any."""

    name: str
    draw: Draw
    given: tuple[Arrays, ...] = ()


def kinds(images: Sequence[Mapping[str, np.ndarray]] = ()) -> list[Kind]:
    """All kinds of inputs in the order in which they are tried; ``images`` are the user's."""
    first, *others = [Kind(draw.name, draw) for draw in DRAWS]
    if not images:
        return [first, *others]
    batches = tuple({k: a[:_ROWS] for k, a in batch.items()} for batch in (images[0], images[-1]))
    return [first, Kind("the --calibration images", first.draw, batches), *others]


def runs(
    proto: onnx.ModelProto,
    masked: Session | FedSession,
    shapes: Sizes,
    kind: Kind | None = None,
    multiply_adds: float = 0,
) -> Iterator[tuple[Arrays, Arrays]]:
    """(inputs, expected outputs) of every input that the masked original accepts.

    The first must run: ModelError names its sizes where it does not. A second size need not: not
    every model with symbolic sizes takes any size.
    """
    kind = kind or kinds()[0]
    values = branch_values(proto)
    again = bool(values) or multiply_adds <= HEAVY
    for k, sizes in enumerate(_sizes(proto, shapes, again)):
        grown = max((prod(s) / max(1, prod(shapes[n])) for n, s in sizes.items()), default=1.0)
        if k > 0 and multiply_adds * grown > _GROWN * HEAVY:
            continue
        feeds = random_inputs(masked.inputs, sizes, np.random.default_rng(k), kind.draw)
        for name in feeds.keys() & values.keys():
            feeds[name][...] = values[name][k % len(values[name])]
        if kind.given:
            feeds |= kind.given[k % len(kind.given)]
        try:
            yield feeds, masked.run(feeds)
        except ModelError as error:
            if k == 0:
                raise ModelError(f"{error}{_at(proto, sizes)}") from error


def _at(proto: onnx.ModelProto, sizes: Sizes) -> str:
    """The sizes that were tried, and how to give others where the model leaves them open."""
    symbols_of = symbols(proto)
    tried = ", ".join(
        f"{name} = {'×'.join(map(str, s)) or 'a scalar'}" for name, s in sizes.items()
    )
    open_ = [name for name, axes in symbols_of.items() if name in sizes and any(axes)]
    give = f"; give sizes that fit with --input-shape {open_[0]}=…" if open_ else ""
    return f" (at {tried}{give})"


def _sizes(proto: onnx.ModelProto, shapes: Sizes, again: bool) -> Iterator[Sizes]:
    """The analysed size, ``again``, then batch 2 and larger images where these are left open."""
    yield shapes
    if again:
        yield shapes
    symbols_of = symbols(proto)
    firsts = {axes[0] for axes in symbols_of.values() if axes}

    def larger(by: int) -> Sizes:
        """The shapes with one more in a batch, and sides that are so much larger."""
        return {
            name: tuple(
                n if s is None else n + (1 if s in firsts else by)
                for n, s in zip(shape, symbols_of.get(name, (None,) * len(shape)), strict=True)
            )
            for name, shape in shapes.items()
        }

    other = larger(_LARGER)
    if other != shapes:
        yield other
    batch = larger(0)
    if batch not in (other, shapes):
        yield batch
