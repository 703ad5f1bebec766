"""The negative control: a cut that is wrong on purpose must be seen."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.types import Bools, ChannelMap, Site
from reprune_onnx.verification.compare import Arrays, difference
from reprune_onnx.verification.fed import FedModel
from reprune_onnx.verification.masked import constant, consumers

CONTROL_FACTOR = 10.0
_CONTROLS = 12  # wrong cuts of either kind to try, at least, before giving up on one that shows
_CLEAR = 1e-3  # a tolerance at which the search for a clearer control ends


def negative_control(
    pruned: FedModel,
    what: tuple[ChannelMap, Bools, list[str]],
    tried: list[tuple[Arrays, Arrays]],
    allowed: float,
) -> float:
    """The relative difference that a wrong cut of one weight makes; the best of a few.

    ``tried`` are inputs with the outputs expected. Weights that read dropped channels are taken
    first, the last in the graph before others; then those that make them.
    """
    channels, keep, observed = what
    places = {o: k for k, node in enumerate(pruned.proto.graph.node) for o in node.output if o}
    best = 0.0
    for site in _candidates(channels, keep):
        op = channels.graph.ops[site.node]
        wrong = pruned.copy()
        node = wrong.proto.graph.node[places[next(o for o in op.outputs if o)]]
        wrong.rewire(node, site.input, _wrongly_cut(channels, keep, site))
        session = wrong.session(observed)
        for feeds, expected in tried:
            best = max(best, difference(expected, session.run(feeds), observed).relative)
            if best >= CONTROL_FACTOR * max(allowed, _CLEAR):
                return best
    return best


def _candidates(channels: ChannelMap, keep: Bools) -> list[Site]:
    """`_CONTROLS` to twice as many sites of either role, spread over the graph; all of fewer."""
    readers = [s for s in consumers(channels, keep) if keep[s.ids].any()]
    makers = [s for s in channels.sites if s.role == "out" and 0 < keep[s.ids].sum() < len(s.ids)]
    return [s for own in (readers, makers) for s in own[:: -max(1, len(own) // _CONTROLS)]]


def _wrongly_cut(channels: ChannelMap, keep: Bools, site: Site) -> NDArray[Any]:
    """The right number of slices along ``site.axis``, but dropped ones wherever there are any."""
    array = constant(channels.graph, site.tensor)
    for other in channels.sites:
        if (other.node, other.input) == (site.node, site.input) and other.axis != site.axis:
            array = array.take(np.flatnonzero(keep[other.ids]), axis=other.axis)
    kept, dropped = np.flatnonzero(keep[site.ids]), np.flatnonzero(~keep[site.ids])
    wrong = np.resize(dropped, len(kept))
    return array.take(wrong, axis=site.axis)
