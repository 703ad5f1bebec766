"""Algorithm 2's update: which channels stay, and the network that has only these.

Between two updates the network is trained as a physically narrow one. That is the same as training
the whole with masked channels, whose weights, statistics and momentum are zero and get no gradient,
and it is quicker. The whole network's values are kept beside it: after an interval the trained ones
are put back where they came from, so that a channel that was dropped has the values that it last
had when it was there (the snapshot), and momentum 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from reprune_onnx.analyzer import channels_of, graph_of
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.errors import ModelError
from reprune_onnx.pruner.gamma import channel_gammas
from reprune_onnx.pruner.selection import select_channels
from reprune_onnx.results import Budget, Cut, Knowledge
from reprune_onnx.subject import scope_of
from reprune_onnx.surgeon import cut
from reprune_onnx.training.bridge import OnnxModule, torch_module, write_back
from reprune_onnx.training.cuts import State, narrowed, widen
from reprune_onnx.training.feed import seed_of
from reprune_onnx.training.optimizers import Memory
from reprune_onnx.training.plan import PrunePlan
from reprune_onnx.training.regrowth import counts, delta, filters_of, regrown, residuals
from reprune_onnx.types import Bools, ChannelMap, Choice, GammaSource, Model


@dataclass(frozen=True)
class Update:
    """One choice of channels. Per group id: how many Algorithm 1 kept, and how many regrew."""

    kept: dict[int, int]
    regrown: dict[int, int]
    choices: dict[int, Choice]
    sources: dict[int, GammaSource]


@dataclass
class Whole:
    """The network with all channels: what Algorithm 2 chooses from.

    ``values`` are by the names of the file, as is what the optimizer remembers, its ``memory``;
    ``keep (n_units,)`` says which channels are there now, ``cuts`` what the narrow network lacks of
    ``values``.
    """

    model: Model
    plan: PrunePlan
    graph: Graph
    channels: ChannelMap
    values: State
    memory: Memory
    keep: Bools
    cuts: Cut | None = None
    coverage: dict[str, float] = field(default_factory=dict)
    last: Update | None = None

    @classmethod
    def of(cls, model: Model, plan: PrunePlan) -> Whole:
        """Begin with all channels of ``model``.

        Raises ModelError for what cannot be regrown: a tensor that nodes share and would cut
        differently, or a weight that the graph computes.
        """
        graph = graph_of(model)
        channels = channels_of(graph, scope_of(plan.settings))
        values = {k: v.detach().clone() for k, v in torch_module(model).values().items()}
        network = cls(
            model, plan, graph, channels, values, {}, np.ones(channels.n_units, dtype=np.bool_)
        )
        network._check()
        return network

    def _check(self) -> None:
        seen: dict[tuple[str, int], bytes] = {}
        free = np.zeros(self.channels.n_units, dtype=np.bool_)
        for g in self.channels.groups:
            free[g.units[g.free]] = True
        if not free.any():
            raise ModelError("no channel of the model can go; see `reprune-onnx analyze`")
        for site in self.channels.sites:
            if not free[site.ids].any():
                continue
            title = self.graph.ops[site.node].title
            if site.tensor not in self.values:
                raise ModelError(
                    f"{title}: its constant '{site.tensor}' is computed by the graph, so its"
                    " channels cannot be dropped and regrown while training; fold constants first"
                )
            ids = site.ids.tobytes()
            if seen.setdefault((site.tensor, site.axis), ids) != ids:
                raise ModelError(
                    f"{title} shares '{site.tensor}' with a node of other channels, so they cannot"
                    " be dropped and regrown while training"
                )

    # ── between whole and narrow ────────────────────────────────────────────────────────────

    def take_in(self, module: OnnxModule, memory: Memory) -> None:
        """Put a narrow module's values back; momentum of absent channels is 0."""
        cuts = () if self.cuts is None else self.cuts.cuts
        widen(self.values, module.values(), cuts)
        for kind, held in memory.items():
            wide = {
                name: torch.zeros_like(self.values[name]) if value.ndim else value.clone()
                for name, value in held.items()
            }
            widen(wide, _with_channels(held), cuts)
            self.memory[kind] = wide

    def full_model(self) -> Model:
        """The model with all channels, at the values they last had."""
        module = torch_module(self.model)
        with torch.no_grad():
            for name, value in module.values().items():
                value.copy_(self.values[name])
        return write_back(self.model, module)

    def narrow(self, outputs: list[str] | None) -> tuple[OnnxModule, Memory]:
        """The module of only the kept channels, and what the optimizer remembers of it."""
        self.cuts = cut(self.full_model(), self.graph, self.channels, self.keep)
        module = torch_module(self.cuts.model, outputs)
        narrow = {
            kind: {**held, **narrowed(_with_channels(held), self.cuts.cuts)}
            for kind, held in self.memory.items()
        }
        return module, narrow

    # ── Algorithm 2 ─────────────────────────────────────────────────────────────────────────

    def update(self, t: int, seed: int) -> Update:
        """Choose the channels after epoch ``t``; the whole network's values must be taken in.

        1. Count, while the γ of absent channels are 0: what stays at s̄, and at s̄ - δ_t.
        2. Restore: Algorithm 1 chooses among all filters, the absent ones at their last values.
        3. Regrow the difference, drawn by what the kept filters cannot express.
        """
        plan, s = self.plan, self.plan.settings
        model = self.full_model()
        graph = graph_of(model)
        channels = channels_of(graph, scope_of(s))
        groups = [g for g in channels.groups if g.free.any()]
        gammas, sources = channel_gammas(graph, channels, {})
        masked = {g.id: np.where(self.keep[g.units], gammas[g.id], 0.0) for g in channels.groups}
        sparsity = s.sparsity or 0.0
        looser = max(0.0, sparsity - delta(t, plan.prune_epochs, plan.regrow))
        kept = counts(groups, masked, sparsity, s)
        more = counts(groups, masked, looser, s)
        settings = replace(s, seed=seed_of(s.seed, seed, t) % 2**32)
        selection = select_channels(graph, channels, settings, Budget(kept), Knowledge(gammas))
        keep, choices = selection.keep, selection.choices
        grown: dict[int, int] = {}
        for g in groups:
            chosen = np.flatnonzero(keep[g.units])
            rest = np.flatnonzero(~keep[g.units])
            epsilon = residuals(g, filters_of(graph, g), chosen)
            rng = np.random.default_rng([s.seed, seed, t, g.id])
            back = regrown(epsilon, rest, more[g.id] - kept[g.id], rng)
            keep[g.units[back]] = True
            grown[g.id] = len(back)
        self.graph, self.channels, self.keep = graph, channels, keep
        self.coverage = _coverage(channels, choices)
        self.last = Update(kept, grown, choices, sources)
        return self.last


def _with_channels(held: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the memory that have channels; not counts of steps, which no cut changes."""
    return {name: value for name, value in held.items() if value.ndim}


def _coverage(channels: ChannelMap, choices: Mapping[int, Choice]) -> dict[str, float]:
    """The coverage rate (Eq. 14) of each pruned layer, by the node's name."""
    return {
        producer.layer.name: round(rate, 6)
        for g in channels.groups
        for producer in g.producers
        if g.id in choices and (rate := choices[g.id].coverage) is not None
    }
