"""The ways in which a model with If is compared: as it is, and with each branch taken.

What inputs are drawn may never choose some branch, and a comparison of what did not run proves
nothing. So beside the file as it is, copies are compared in which the conditions of an If are
decided: the branch that is taken stands in the main graph there, runs, and is looked into.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from reprune_onnx.analyzer.fold import Places, folded
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.analyzer.hoist import joined
from reprune_onnx.types import Bools, Branch, ChannelMap, Model, Site


@dataclass(frozen=True)
class View:
    """One copy of a model, in which the conditions ``decided`` are not left to the inputs.

    ``channels`` are those of the ``graph`` in which all branches stand beside their If; ``shown``,
    of ``shown_graph``, is what can be looked into. A wrong cut must show in each of the ``parts``,
    which are sites of the main graph, or of one branch. ``branches`` names the branches that it
    takes for that.
    """

    graph: Graph
    channels: ChannelMap
    shown_graph: Graph
    shown: ChannelMap
    parts: tuple[tuple[Site, ...], ...]
    decided: dict[str, bool] = field(default_factory=dict)
    branches: tuple[str, ...] = ()

    def by_part(self) -> list[ChannelMap]:
        """The channels with the sites of one part each."""
        return [replace(self.channels, sites=part) for part in self.parts]


def views(graph: Graph, channels: ChannelMap, keep: Bools) -> list[View]:
    """The model as it is, then copies so that each branch runs in which dropped units are read.

    Another If than those around the branch is left to the inputs, unless its condition is the same.
    """
    if not any(joined(op.proto) for op in graph.ops):
        return [View(graph, channels, graph, channels, (channels.sites,))]
    inside: dict[str, list[Site]] = {}
    for site in channels.sites:
        inside.setdefault(graph.branch_of(graph.ops[site.node]), []).append(site)
    cut = {b for b, sites in inside.items() if not all(keep[s.ids].all() for s in sites)}
    together: dict[tuple[tuple[str, bool], ...], list[Branch]] = {}
    for branch in channels.branches:
        if branch.prefix in cut:
            together.setdefault(tuple(sorted(branch.decided.items())), []).append(branch)
    outside = _view(graph, channels, [], [tuple(inside[""])] if "" in cut else [])
    return [outside] + [
        _view(graph, channels, branches, [tuple(inside[branch.prefix]) for branch in branches])
        for branches in together.values()
    ]


def _view(
    graph: Graph, channels: ChannelMap, branches: list[Branch], parts: list[tuple[Site, ...]]
) -> View:
    decided = branches[0].decided if branches else {}
    shapes = branches[0].shapes if branches else channels.input_shapes
    places = Places(graph.proto, decided)
    running = [s for s in channels.sites if places.of(graph.ops[s.node].result) is not None]
    shown = replace(
        channels,
        tensors={name: x for name, x in channels.tensors.items() if places.of(name) == ""},
        sites=(),
        summed=(),
        statistics=(),
    )
    summed = tuple(s for s in channels.summed if places.of(graph.ops[s.node].result) is not None)
    statistics = tuple(
        s for s in channels.statistics if places.of(graph.ops[s.node].result) is not None
    )
    here = replace(
        channels, sites=tuple(running), summed=summed, statistics=statistics, input_shapes=shapes
    )
    titles = tuple(branch.title for branch in branches)
    shown_graph = Graph(Model(folded(graph.proto, decided)))
    return View(graph, here, shown_graph, shown, tuple(parts), decided, titles)
