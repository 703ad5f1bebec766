"""Every group's loss as a function of how many channels it keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.interpolate import PchipInterpolator

from reprune_onnx.activations.images import Images
from reprune_onnx.activations.workers import workers
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.pruner.sensitivity.basis import basis_of, turned_reader
from reprune_onnx.pruner.sensitivity.elimination import Curve, eliminate, lost
from reprune_onnx.pruner.sensitivity.readers import Reads, readers
from reprune_onnx.results import Losses
from reprune_onnx.streams.find import Stream
from reprune_onnx.types import ChannelMap, Group, Ints, Model
from reprune_onnx.watch import Progress

SelectAt = Callable[[Group, Sequence[int]], list[Ints]]


@dataclass(frozen=True)
class How:
    """The ways to measure what groups lose.

    ``select_at(g, counts)`` gives the channels of group g that a criterion keeps at each of some
    numbers; they are measured and interpolated. ``streams`` are those that may get another basis,
    by the id of their group.
    """

    select_at: SelectAt | None = None
    streams: Mapping[int, Stream] = field(default_factory=dict)


_LEVELS = 8  # numbers of channels at which another criterion's choice is measured


def measure_losses(
    model: Model,
    graph: Graph,
    channels: ChannelMap,
    images: Images,
    how: How,
    progress: Progress | None = None,
) -> Losses:
    """Measure what each group loses on ``images`` with fewer channels, its readers refitted.

    A group that no layer reads, or none that can be measured, has no curve. Without
    ``how.select_at`` channels are eliminated one by one (method ``reconstruction``), and so are the
    axes of ``how.streams`` in any case, in the basis in which fewest matter.
    """
    error, order, bases = {}, {}, {}
    with workers() as pool:
        for g, reads in readers(model, graph, channels, images, pool, progress):
            if not reads.measured:
                continue
            stream, seen = how.streams.get(g.id), reads.readers
            turns = stream is not None and len(stream.readers) == len(seen)
            if turns:
                bases[g.id] = basis_of(seen, g.n)
                seen = [turned_reader(r, bases[g.id]) for r in seen]
            if turns or how.select_at is None:
                curve = eliminate(seen, ~g.free, reads.by_number)
                order[g.id] = curve.order
            else:
                curve = _sampled(g, reads, how.select_at)
            error[g.id] = curve.error
    return Losses(error, order, bases)


def _sampled(g: Group, reads: Reads, select_at: SelectAt) -> Curve:
    """The curve through a criterion's choices at some numbers of channels."""
    least = max(1, int((~g.free).sum()))
    levels = np.unique(np.linspace(least, g.n, _LEVELS + 1).round().astype(int))
    choices = select_at(g, [int(k) for k in levels[:-1]])  # the last level is all channels
    measured = [*lost(reads.readers, choices), 0.0]
    errors = np.maximum.accumulate(measured[::-1])[::-1]  # fewer channels never lose less
    if len(levels) == 1:
        return Curve(np.arange(0), reads.by_number)
    between = PchipInterpolator(levels, errors)(np.arange(least, g.n + 1))
    error = np.concatenate([np.full(least, errors[0]), between])
    return Curve(np.arange(0), error + reads.by_number)
