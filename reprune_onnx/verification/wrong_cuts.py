"""A pruned model in which weights can be cut wrongly on purpose, from run to run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.types import Bools, ChannelMap, Site
from reprune_onnx.verification.compare import Arrays, difference
from reprune_onnx.verification.fed_model import FedModel
from reprune_onnx.verification.masked import constant


class WrongCuts:
    """The model ``pruned``, whose weights at ``sites`` are fed: any of them can be a wrong one.

    ``pruned`` is changed. Differences are looked for in those of the tensors ``observed`` that its
    nodes make.
    """

    def __init__(
        self,
        pruned: FedModel,
        graph: Graph,
        channels: ChannelMap,
        keep: Bools,
        sites: Sequence[Site],
        observed: Sequence[str],
    ) -> None:
        self._graph, self._channels, self._keep = graph, channels, keep
        self._pruned, self._observed = pruned, list(observed)
        nodes = {name: node for node in pruned.proto.graph.node for name in node.output if name}
        self._names: dict[tuple[int, int], str] = {}
        for site in sites:
            if (site.node, site.input) not in self._names:
                node = nodes[self._graph.ops[site.node].result]
                right = pruned.weight(node.input[site.input])
                if right is None:
                    right = self._rows(site, np.flatnonzero(self._keep[site.ids]))
                self._names[site.node, site.input] = pruned.rewire(node, site.input, right)
        self._session = pruned.session([name for name in observed if name in nodes])
        self._inputs = {port.name for port in self._session.inputs}

    def differ(
        self, sites: Sequence[Site], tried: Sequence[tuple[Arrays, Arrays]], goal: float
    ) -> float:
        """The largest relative difference that wrong weights at all of ``sites`` make together.

        ``tried`` are inputs, with the outputs expected; the last ones are left out where ``goal``
        is reached before.
        """
        wrong = {self._names[s.node, s.input]: self._pruned.fed(self._wrong(s)) for s in sites}
        best = 0.0
        for feeds, expected in tried:
            read = {name: array for name, array in feeds.items() if name in self._inputs}
            made = self._session.run(read | wrong)
            best = max(best, difference(expected, made, self._observed).relative)
            if best >= goal:
                break
        return best

    def _wrong(self, site: Site) -> NDArray[Any]:
        """The right number of slices along ``site.axis``, but dropped ones where there are any."""
        kept = self._keep[site.ids]
        return self._rows(site, np.resize(np.flatnonzero(~kept), int(kept.sum())))

    def _rows(self, site: Site, rows: NDArray[np.intp]) -> NDArray[Any]:
        """The site's weight with these slices along its axis, cut rightly along the others."""
        array = constant(self._graph, site.tensor)
        for other in self._channels.sites:
            if (other.node, other.input) == (site.node, site.input) and other.axis != site.axis:
                array = array.take(np.flatnonzero(self._keep[other.ids]), axis=other.axis)
        return array.take(rows, axis=site.axis)
