"""Every group's loss as a function of how many channels it keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.interpolate import PchipInterpolator

from reprune_onnx.activations.images import Images
from reprune_onnx.activations.workers import workers
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.pruner.select.auto import FAR
from reprune_onnx.pruner.sensitivity.basis import basis_of, turned_reader
from reprune_onnx.pruner.sensitivity.elimination import eliminate, lost
from reprune_onnx.pruner.sensitivity.readers import Reads, readers
from reprune_onnx.results import Losses
from reprune_onnx.streams.find import Stream
from reprune_onnx.types import Bools, ChannelMap, Floats, Group, Ints, Model
from reprune_onnx.watch import Progress

SelectAt = Callable[[Group, Sequence[int]], list[Ints]]

_LEVELS = 8  # numbers of channels at which another criterion's choice is measured


@dataclass(frozen=True)
class Ways:
    """The ways to choose channels whose losses are measured: a criterion, elimination, or both.

    ``select_at(g, counts)`` gives the channels of group g that the criterion keeps at each of some
    numbers; they are measured and interpolated. ``eliminated``: channels go one by one, each time
    the one that adds least (method ``reconstruction``). So do, in any case, the axes of
    ``streams``, by the id of their group, in the basis in which fewest matter.
    """

    select_at: SelectAt | None = None
    eliminated: bool = True
    streams: Mapping[int, Stream] = field(default_factory=dict)


def measure_losses(
    model: Model,
    graph: Graph,
    channels: ChannelMap,
    images: Images,
    ways: Ways,
    progress: Progress | None = None,
) -> Losses:
    """Measure what each group loses on ``images`` with fewer channels, its readers refitted.

    A group that no layer reads, or none that can be measured, has no curve.

    Of both ways, a criterion and elimination, each number of channels goes by the criterion unless
    that loses more than `FAR` times as much.
    """
    error: dict[int, Floats] = {}
    order: dict[int, Ints] = {}
    eliminated: dict[int, Bools] = {}
    bases: dict[int, Floats] = {}
    with workers() as pool:
        for g, reads in readers(model, graph, channels, images, pool, progress):
            if not reads.measured:
                continue
            stream, seen = ways.streams.get(g.id), reads.readers
            turns = stream is not None and len(stream.readers) == len(seen)
            if turns:
                bases[g.id] = basis_of(seen, g.n)
                seen = [turned_reader(r, bases[g.id]) for r in seen]
            if turns or ways.eliminated:
                curve = eliminate(seen, ~g.free, reads.by_number)
                error[g.id], order[g.id] = curve.error, curve.order
            if ways.select_at is not None and not turns:
                chosen = _sampled(g, reads, ways.select_at)
                if ways.eliminated:
                    eliminated[g.id] = chosen > FAR * error[g.id]
                    chosen = np.where(eliminated[g.id], error[g.id], chosen)
                error[g.id] = np.maximum.accumulate(chosen[::-1])[::-1]
    return Losses(error, order, eliminated, bases)


def _sampled(g: Group, reads: Reads, select_at: SelectAt) -> Floats:
    """The errors (n + 1,) of a criterion's choices, measured at some numbers of channels."""
    least = max(1, int((~g.free).sum()))
    levels = np.unique(np.linspace(least, g.n, _LEVELS + 1).round().astype(int))
    choices = select_at(g, [int(k) for k in levels[:-1]])  # the last level is all channels
    measured = [*lost(reads.readers, choices), 0.0]
    errors = np.maximum.accumulate(measured[::-1])[::-1]  # fewer channels never lose less
    if len(levels) == 1:
        return reads.by_number
    between = PchipInterpolator(levels, errors)(np.arange(least, g.n + 1))
    return np.concatenate([np.full(least, errors[0]), between]) + reads.by_number
