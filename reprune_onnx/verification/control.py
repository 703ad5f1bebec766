"""The negative control: a cut that is wrong on purpose must be seen.

One weight whose wrong cut shows is enough, and it is looked for where that costs least. The weights
that stand last in the graph are tried by running only what lies behind them, on activations that
were recorded when the pruned model was compared. Where these do not show, all weights are wrong in
one run: where even that does not show, no single one is tried, else one is found by halves. Last
come the constants of branches that went as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.analyzer.graph import Graph, to_array
from reprune_onnx.errors import ModelError
from reprune_onnx.types import Bools, ChannelMap, Site
from reprune_onnx.verification.compare import Arrays, difference
from reprune_onnx.verification.fed_model import FedModel
from reprune_onnx.verification.part import GraphPart, part_behind
from reprune_onnx.verification.wrong_cuts import WrongCuts

CONTROL_FACTOR = 10.0
_CONTROLS = 12  # wrong cuts of either kind to try, at least, before giving up on one that shows
_CLEAR = 1e-3  # a tolerance at which the search for a clearer control ends
_FIRST = (1, 3)  # weights that are tried by what lies behind them: the last, then some before it
_RECORDED = 2**25  # numbers that are recorded for these at most: 128 MiB in float32

Tried = Sequence[tuple[Arrays, Arrays]]


class NegativeControl:
    """Wrong cuts of one weight each of the model ``pruned``.

    Of the ``channels`` of the original's ``graph`` only the units ``keep (n_units,)`` stay. Wrong
    cuts are to be seen in the tensors ``observed``; ``runs`` is the number of inputs that the
    models are compared on.
    """

    def __init__(
        self,
        pruned: FedModel,
        graph: Graph,
        channels: ChannelMap,
        keep: Bools,
        observed: list[str],
        runs: int,
    ) -> None:
        self._pruned, self._observed = pruned, observed
        self._graph, self._channels, self._keep = graph, channels, keep
        made = {name for node in pruned.proto.graph.node for name in node.output}
        left = [s for s in channels.sites if graph.ops[s.node].result in made]
        self._kinds = _candidates(left, keep)
        self._constants = [name for b in channels.branches_gone(keep) for name in b.ends]
        self._first = list(self._parts(_RECORDED // max(1, runs)))

    @property
    def reads(self) -> list[str]:
        """The tensors of the pruned model to record while it runs."""
        return sorted({name for part, _ in self._first for name in part.reads})

    def shown(self, tried: Tried, recorded: Sequence[Arrays], allowed: float) -> float:
        """The relative difference that a wrong cut of one weight makes.

        It is the first that is seen to be clear of what is ``allowed``, and below `CONTROL_FACTOR`
        times that where there is none. ``tried`` are inputs with the outputs expected, ``recorded``
        what `reads` names, on each of them.
        """
        goals = CONTROL_FACTOR * allowed, CONTROL_FACTOR * max(allowed, _CLEAR)
        best = 0.0
        for part, sites in self._first:
            if not all(isinstance(recorded[0][name], np.ndarray) for name in part.reads):
                continue  # a sequence cannot be fed
            fed = [
                ({**feeds, **{name: more[name] for name in part.reads}}, expected)
                for (feeds, expected), more in zip(tried, recorded, strict=True)
            ]
            try:
                wrong = self._wrong(self._pruned.part(part, recorded), sites)
                for site in sites:
                    best = max(best, wrong.differ([site], fed, goals[1]))
                    if best >= goals[1]:
                        return best
            except ModelError:  # a node takes only a constant where it is fed an array
                continue
        if best >= goals[0]:
            return best
        wrong = self._wrong(
            self._pruned.copy(), [site for of_kind in self._kinds for site in of_kind]
        )
        for of_kind in self._kinds:
            best = max(best, _by_halves(wrong, of_kind, tried, goals))
            if best >= goals[0]:
                return best
        return max(best, self._of_constants(tried, goals[0]))

    def _of_constants(self, tried: Tried, goal: float) -> float:
        """The difference that a wrong constant makes in the place of a branch that went whole."""
        model = self._pruned.copy()
        nodes = list(model.proto.graph.node)
        stored = {t.name: to_array(t) for t in model.proto.graph.initializer}
        wrong: dict[str, NDArray[Any]] = {}
        for node in nodes:
            for i, name in enumerate(node.input):
                if name in self._constants:
                    right = stored[name] if name in stored else model.weight(name)
                    assert right is not None  # the surgeon stored it
                    wrong[model.rewire(node, i, right)] = model.fed(_off(right))
        made = {name for node in nodes for name in node.output}
        session = model.session([name for name in self._observed if name in made])
        best = 0.0
        for name, array in wrong.items():
            for feeds, expected in tried:
                seen = session.run({**feeds, name: array})
                best = max(best, difference(expected, seen, self._observed).relative)
                if best >= goal:
                    return best
        return best

    def _wrong(self, model: FedModel, sites: Sequence[Site]) -> WrongCuts:
        return WrongCuts(model, self._graph, self._channels, self._keep, sites, self._observed)

    def _parts(self, most: int) -> Iterator[tuple[GraphPart, list[Site]]]:
        """The parts behind the last weights, while they read at most ``most`` values in all."""
        graph = self._pruned.proto.graph
        places = {name: k for k, node in enumerate(graph.node) for name in node.output if name}
        sites = [site for chunk in self._kinds for site in chunk]
        start = 0
        for n in _FIRST:
            chunk = sites[start : start + n]
            start += n
            at = [places[self._graph.ops[site.node].result] for site in chunk]
            part = part_behind(graph, at, self._observed)
            most -= sum(_numbers(self._channels, name) for name in part.reads)
            if most < 0:
                return
            leading = [site for site, k in zip(chunk, at, strict=True) if k in part.nodes]
            if leading:
                yield part, leading


def _candidates(sites: Sequence[Site], keep: Bools) -> list[list[Site]]:
    """Those that read dropped channels, and those that make them, the last in the graph first.

    `_CONTROLS` to twice as many of either kind, spread over the graph; all of fewer.
    """
    parted = [s for s in sites if 0 < keep[s.ids].sum() < len(s.ids)]
    kinds = ([s for s in parted if s.role == role] for role in ("in", "out"))
    return [of_kind[:: -max(1, len(of_kind) // _CONTROLS)] for of_kind in kinds]


def _off(constant: NDArray[Any]) -> NDArray[Any]:
    """A constant, off by its largest value up and down in turns: a norm does not see a shift."""
    signs = np.resize([1, -1], constant.size).reshape(constant.shape)
    return (constant + signs * (np.abs(constant).max() or 1.0)).astype(constant.dtype)


def _by_halves(
    wrong: WrongCuts, sites: list[Site], tried: Tried, goals: tuple[float, float]
) -> float:
    """The difference that one of ``sites`` makes, if all of them together make enough.

    ``goals`` are what is enough, and what is clear.
    """
    together = wrong.differ(sites, tried, goals[1]) if sites else 0.0
    if len(sites) <= 1 or together < goals[0]:
        return together
    goal = max(g for g in goals if g <= together)
    some = sites
    while len(some) > 1:
        half = some[: len(some) // 2]
        some = half if wrong.differ(half, tried, goal) >= goal else some[len(half) :]
    best = wrong.differ(some, tried, goal)
    for site in sites:  # where only several at once make enough
        if best >= goals[0]:
            break
        best = max(best, wrong.differ([site], tried, goals[0]))
    return best


def _numbers(channels: ChannelMap, name: str) -> int:
    """The number of values in a tensor before channels go, as far as known."""
    labels = channels.tensors.get(name)
    return 0 if labels is None else prod(n or 1 for n in labels.shape)
