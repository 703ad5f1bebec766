"""From numbers to channels: which ones each group keeps."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.choices import Criterion, Method, SelectOptions
from reprune_onnx.note import Note
from reprune_onnx.pruner.allocate.parts import parts, suitable
from reprune_onnx.pruner.layer_filters import layer_filters
from reprune_onnx.pruner.select import criterion, select
from reprune_onnx.pruner.select.auto import FAR
from reprune_onnx.results import Budget, Knowledge
from reprune_onnx.settings import Settings
from reprune_onnx.types import (
    Bools,
    ChannelMap,
    Choice,
    Filters,
    Floats,
    Group,
    Ints,
    Layer,
    Problem,
    Selection,
)
from reprune_onnx.watch import Progress

_AT_ONCE = 2  # groups in work: clustering uses all cores, covering one


def select_channels(
    graph: Graph,
    channels: ChannelMap,
    settings: Settings,
    budget: Budget,
    knowledge: Knowledge,
    progress: Progress | None = None,
) -> Selection:
    """Which units stay, as many of each group as the ``budget`` says, and each group's choice.

    Groups are independent problems with a random stream each, so the result is the same for any
    number of jobs. With ``--input-channels kept`` they are not: they go in graph order.
    """
    keep, kept = np.ones(channels.n_units, dtype=np.bool_), budget.kept
    groups = [g for g in channels.groups if kept.get(g.id, g.n) < g.n]
    inputs = keep if settings.input_channels == "kept" else None
    problems = _Problems(graph, channels, knowledge, inputs)
    gone = _gone(channels, kept, keep)
    for i in gone:
        keep[channels.groups[i].units] = False
    choices = {i: Choice(np.empty(0, dtype=np.int64)) for i in gone}
    groups = [g for g in groups if g.id not in gone]
    for k, (g, solved) in enumerate(_solved(problems, groups, kept, settings)):
        suits = settings.rounding and kept[g.id] in settings.rounding.choices(g.n, 1)
        choice = _with_widths(problems, g, solved, settings) if suits else solved
        choices[g.id] = _never_empty(g, choice, knowledge.gammas[g.id])
        keep[g.units] = False
        keep[g.units[choices[g.id].kept]] = True
        if progress is not None:
            progress("clustering and covering", k + 1, len(groups))
    notes = (*budget.notes, *_missed_least(groups, settings, kept, knowledge))
    return Selection(
        keep, choices, knowledge.gamma_source, notes, budget.unrounded, budget.expected
    )


def _gone(channels: ChannelMap, kept: Mapping[int, int], keep: Bools) -> set[int]:
    """The groups that go with whole branches: those that keep nothing, and all that these need."""
    left = keep.copy()
    for g in channels.groups:
        left[g.units] &= kept.get(g.id, g.n) > 0
    return {i for branch in channels.branches_gone(left) for i in branch.groups}


def _missed_least(
    groups: Sequence[Group], settings: Settings, kept: Mapping[int, int], knowledge: Knowledge
) -> Iterator[Note]:
    """That method ``auto`` did not take REPrune's choice everywhere."""
    if settings.method != "auto" or knowledge.losses is None:
        return
    orders = [knowledge.losses.order_at(g.id, kept[g.id]) for g in groups]
    n = sum(order is not None for order in orders)
    if n:
        yield Note(
            f"in {n} of {len(groups)} groups of layers the channels go that the next layers miss"
            f" least (method reconstruction), as REPrune's choice loses more than {FAR:g} times as"
            " much there; --method reprune takes it everywhere"
        )


def select_at(
    graph: Graph, channels: ChannelMap, settings: Settings, knowledge: Knowledge
) -> Callable[[Group, Sequence[int]], list[Ints]] | None:
    """A function from a group and counts to the channels kept; None for elimination by losses."""
    if criterion(settings.method).needs == "losses":
        return None

    def kept(g: Group, counts: Sequence[int]) -> list[Ints]:
        problem = group_problem(graph, channels, g, g.n, knowledge)
        return [_choice(replace(problem, n_keep=k), g, settings).kept for k in counts]

    return kept


@dataclass(frozen=True)
class _Problems:
    """The ingredients of every group's problem; see `group_problem`.

    ``keep`` is None unless only the inputs that stay are seen.
    """

    graph: Graph
    channels: ChannelMap
    knowledge: Knowledge
    keep: Bools | None

    def of(self, group: Group, n_keep: int) -> Problem:
        """The problem of keeping ``n_keep`` channels of a group."""
        return group_problem(self.graph, self.channels, group, n_keep, self.knowledge, self.keep)


def _solved(
    problems: _Problems, groups: list[Group], kept: Mapping[int, int], settings: Settings
) -> Iterator[tuple[Group, Choice]]:
    """(group, choice) of every group, in order."""
    tasks = ((problems.of(g, kept[g.id]), g) for g in groups)
    if settings.input_channels == "kept":  # a problem is made when the one before it is solved
        yield from ((g, _choice(problem, g, settings)) for problem, g in tasks)
        return
    if settings.jobs == 1 or len(groups) < 2:
        yield from zip(groups, _overlapping(tasks, settings), strict=True)
        return
    from joblib import Parallel, delayed

    results = Parallel(n_jobs=settings.jobs, return_as="generator")(
        delayed(_select)(
            problem, _method(problem, settings), settings.select_options, (settings.seed, g.id)
        )
        for problem, g in tasks
    )
    yield from zip(groups, results, strict=True)


def _overlapping(tasks: Iterable[tuple[Problem, Group]], settings: Settings) -> Iterator[Choice]:
    """The choices, in order, two groups at a time: one is clustered while another is covered."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        waiting: deque[Future[Choice]] = deque()
        for problem, group in tasks:
            waiting.append(pool.submit(_choice, problem, group, settings))
            if len(waiting) == _AT_ONCE:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _choice(problem: Problem, group: Group, settings: Settings) -> Choice:
    """The choice of the settings' method, by the random stream of the group."""
    stream = (settings.seed, group.id)
    return _select(problem, _method(problem, settings), settings.select_options, stream)


def _method(problem: Problem, settings: Settings) -> Method | Criterion:
    """The criterion that chooses: of axes of another basis, their order."""
    return "reconstruction" if problem.turned else settings.method


def _select(
    problem: Problem, method: Method | Criterion, options: SelectOptions, stream: tuple[int, int]
) -> Choice:
    return select(problem, method, options, np.random.default_rng(list(stream)))


def group_problem(
    graph: Graph,
    channels: ChannelMap,
    group: Group,
    n_keep: int,
    knowledge: Knowledge,
    keep: Bools | None = None,
) -> Problem:
    """The problem of keeping ``n_keep`` channels of a group.

    With ``keep (n_units,)`` only the input channels that stay are seen.
    """
    parts: list[Filters] = []
    for producer in group.producers:
        layer = producer.layer
        inputs = None if keep is None else _kept_inputs(channels, layer, keep)
        filters = layer_filters(graph, layer, producer.rows, inputs)
        energy = knowledge.energies.get(layer.node)
        parts += (
            filters if energy is None else [_with_energy(f, layer, energy, inputs) for f in filters]
        )
    losses = knowledge.losses
    order = None if losses is None else losses.order_at(group.id, n_keep)
    turned = losses is not None and group.id in losses.bases
    gamma = knowledge.gammas[group.id]
    return Problem(group.n, tuple(parts), gamma, ~group.free, n_keep, order, turned)


def _with_energy(part: Filters, layer: Layer, energy: Floats, inputs: Ints | None) -> Filters:
    """The filters with each input channel's energy, the mean over a grouped layer's groups."""
    by_input = energy.reshape(layer.conv_groups, -1).mean(axis=0)
    by_input = by_input if inputs is None else by_input[inputs]
    return replace(part, energy=np.tile(by_input, part.kernels.shape[1] // len(by_input)))


def _kept_inputs(channels: ChannelMap, layer: Layer, keep: Bools) -> Ints | None:
    """Positions in a group's inputs, of which some group keeps the channel; None for no channel.

    A ConvTranspose has the inputs of all groups on one axis, a Conv those of one.
    """
    for site in channels.sites:
        if site.role == "in" and (site.node, site.input) == (layer.node, layer.input):
            groups = layer.conv_groups if layer.op == "ConvTranspose" else 1
            kept = np.flatnonzero(keep[site.ids].reshape(groups, -1).any(axis=0))
            return kept if len(kept) else None
    return None


def _with_widths(problems: _Problems, group: Group, choice: Choice, settings: Settings) -> Choice:
    """The choice, with as many channels of each part as suit all layers, if there are parts.

    Where a part is to keep more, the best of it are added; where less, the best that it keeps stay.
    """
    split = parts(problems.channels, group)
    stays = np.isin(np.arange(group.n), choice.kept)
    before = split.count(stays)
    numbers = suitable(split, before, split.count(~group.free), settings.rounding)
    changed = np.flatnonzero(numbers != before)
    if not len(changed):
        return choice
    problem = problems.of(group, len(choice.kept))
    for p in changed:
        more = numbers[p] > before[p]
        at = np.flatnonzero((split.of == p) & (True if more else stays))
        fixed = stays[at] if more else problem.fixed[at]
        part = problem.only(at, fixed, int(numbers[p]))
        best = at[:0] if part.n_keep == 0 else at[_choice(part, group, settings).kept]
        stays[split.of == p] = False
        stays[best] = True
    kept = np.flatnonzero(stays)
    if choice.coverage is None:
        return Choice(kept)
    return _choice(replace(problem, fixed=stays, n_keep=len(kept)), group, settings)


def _never_empty(group: Group, choice: Choice, gamma: Floats) -> Choice:
    """The choice, with the channel of largest |γ| of every part that would otherwise be empty."""
    kept = set(choice.kept.tolist())
    for part in group.nonempty:
        if not kept.intersection(part.tolist()):
            kept.add(int(part[np.argmax(gamma[part])]))
    return replace(choice, kept=np.array(sorted(kept), dtype=np.int64))
