"""From a target to a selection: allocate how many channels each group keeps, then select which."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np

from reprune_onnx.analyzer.scope import matching
from reprune_onnx.errors import SelectionError
from reprune_onnx.pruner.allocate import (
    all_equal,
    bn_gamma,
    guard,
    nearest_within,
    uniform,
    widths,
)
from reprune_onnx.pruner.allocate.reach import out_of_reach
from reprune_onnx.pruner.multilinear import Multilinear, multilinear
from reprune_onnx.pruner.select import select
from reprune_onnx.pruner.select.kernels import filters
from reprune_onnx.pruner.select.ranking import keep_highest
from reprune_onnx.pruner.sensitivity.allocate import by_losses, least_loss
from reprune_onnx.pruner.sensitivity.curves import Losses
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
    LayerTime,
    Method,
    Problem,
    Reduction,
    SelectOptions,
)
from reprune_onnx.watch import Progress

_AT_ONCE = 2  # groups in work: clustering uses all cores, covering one
_LEVELS = 1000  # a reduction is searched on sparsities 0.000, 0.001, … 0.999
_Task = tuple[Problem, Method, SelectOptions, tuple[int, int]]


@dataclass(frozen=True)
class Knowledge:
    """What is known of the channels: ``gammas[g.id] (n,)``, each |γ|, and what images told.

    ``energies[node] (n_in,)`` is the mean square of a layer's input channels, ``losses`` what each
    group loses with its channels; both are empty without images. ``times[node]`` are those of
    layers, for a reduction of latency.
    """

    gammas: Mapping[int, Floats]
    energies: Mapping[int, Floats] = field(default_factory=dict)
    losses: Losses | None = None
    times: Mapping[int, LayerTime] = field(default_factory=dict)


@dataclass(frozen=True)
class Allocation:
    """How many channels each prunable group keeps ``{id: n_keep}``, and notes to print.

    ``expected`` is the reduction that they give, where the layers of a group have equal shares of
    every channel. ``unrounded`` is that before widths were rounded, where they were.
    """

    kept: dict[int, int]
    notes: list[str]
    expected: float
    unrounded: float | None = None


def allocate(
    channels: ChannelMap, settings: Settings, known: Knowledge, wanted: Reduction
) -> Allocation:
    """How many channels each prunable group keeps.

    Without measured losses a reduction of anything but channels is reached by searching the
    sparsity whose result is nearest; rounded, it is at least what was asked for. Raises
    SelectionError where nothing can be pruned or the reduction is out of reach.
    """
    groups = [g for g in channels.groups if g.free.any()]
    if not groups:
        raise SelectionError(_nothing_prunable(channels, settings))
    overrides = _overrides(channels, settings)
    notes: list[str] = []
    if settings.coverage == "auto" and settings.worth == "norm":
        notes.append(
            "a covered cluster counts as much as its kernels (coverage norm), as there are images"
            " to refit layers to; --coverage count is the paper's"
        )
    cost = multilinear(channels, groups, wanted.measure, known.times)
    full = cost(np.array([g.n for g in groups]))
    if wanted.measure == "macs" and full <= 0:
        raise SelectionError(
            "the multiply-adds of the layers that may be pruned are not known, because the sizes of"
            " their images do not follow from the input's: give another --input-shape, or"
            " --sparsity"
        )
    if by_losses(settings) and known.losses is not None:
        least, more = least_loss(groups, known.losses, (wanted, cost), settings, overrides)
        expected = 1 - cost(np.array([least[g.id] for g in groups])) / max(full, 1e-12)
        return Allocation(least, [*more, *notes], expected)
    budget, more = _by_sparsity(groups, known, settings, overrides)
    notes += more
    sparsity = wanted.share
    if wanted.measure != "channels":
        sparsity = _search(wanted, (cost, full), budget)
    kept, unrounded = budget(sparsity), None
    if settings.rounding:
        unrounded = 1 - cost(kept) / full
        choices = [widths(g, settings, overrides) for g in groups]
        kept = _rounded(wanted, (cost, full), (budget, sparsity), choices, settings)
    found = {g.id: int(k) for g, k in zip(groups, kept, strict=True)}
    return Allocation(found, notes, 1 - cost(kept) / max(full, 1e-12), unrounded)


def select_channels(
    channels: ChannelMap,
    settings: Settings,
    kept: Mapping[int, int],
    known: Knowledge,
    progress: Progress | None = None,
) -> tuple[Bools, dict[int, Choice]]:
    """Which units stay ``(n_units,)``, and each group's choice.

    Groups are independent problems with a random stream each, so the result is the same for any
    number of jobs. With ``--input-channels kept`` they are not: they go in graph order.
    """
    keep = np.ones(channels.n_units, dtype=np.bool_)
    groups = [g for g in channels.groups if kept.get(g.id, g.n) < g.n]
    choices: dict[int, Choice] = {}
    for k, (g, choice) in enumerate(_solve(channels, settings, (groups, kept, known, keep))):
        choices[g.id] = _with_parts(g, choice, known.gammas[g.id])
        keep[g.units] = False
        keep[g.units[choices[g.id].kept]] = True
        if progress is not None:
            progress("clustering and covering", k + 1, len(groups))
    return keep, choices


# ── allocation ──────────────────────────────────────────────────────────────────────────────────


def _by_sparsity(
    groups: list[Group], known: Knowledge, settings: Settings, overrides: Mapping[int, int]
) -> tuple[Callable[[float], Ints], list[str]]:
    """What each group keeps (n_groups,) as a function of the sparsity; and notes to print."""
    free = [known.gammas[g.id][g.free] for g in groups]
    by_gamma = settings.allocation in ("auto", "bn-gamma")
    notes = []
    if by_gamma and all_equal(free):
        notes.append("all |γ| are equal, so they say nothing: the allocation is uniform")
        by_gamma = False
    if settings.allocation == "auto" and by_gamma:
        notes.append(
            "channels per layer follow |γ| (allocation bn-gamma): there are no --calibration images"
            " to measure losses on"
        )

    def budget(sparsity: float) -> Ints:
        drops = (
            bn_gamma(free, sparsity)
            if by_gamma
            else uniform([int(g.free.sum()) for g in groups], sparsity)
        )
        kept = guard(
            drops,
            [g.n for g in groups],
            [int((~g.free).sum()) for g in groups],
            settings.min_channels,
        )
        return np.array([overrides.get(g.id, k) for g, k in zip(groups, kept, strict=True)])

    return budget, notes


def _search(
    wanted: Reduction, costs: tuple[Multilinear, float], budget: Callable[[float], Ints]
) -> float:
    """The sparsity whose reduction is nearest; ``costs`` is the cost, and that of the original."""
    cost, full = costs

    def reduction(level: int) -> float:
        return 1.0 - cost(budget(level / _LEVELS)) / max(full, 1e-12)

    low, high = 0, _LEVELS - 1
    most = reduction(high)
    if most < wanted.share:
        raise out_of_reach(wanted, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if reduction(middle) < wanted.share else (low, middle)
    nearest = min((low, high), key=lambda level: abs(reduction(level) - wanted.share))
    return nearest / _LEVELS


def _rounded(
    wanted: Reduction,
    costs: tuple[Multilinear, float],
    allocation: tuple[Callable[[float], Ints], float],
    choices: list[Ints],
    settings: Settings,
) -> Ints:
    """The allocation at a sparsity, or at the next that can be rounded so that it costs no more.

    Of channels more stay than were asked for where that is impossible.
    """
    (cost, full), (budget, sparsity) = costs, allocation
    of_channels = wanted.measure == "channels"
    most = cost(budget(sparsity)) if of_channels else (1 - wanted.share) * full
    first = found = nearest_within(budget(sparsity), choices, cost, most)
    for level in range(math.ceil(sparsity * _LEVELS), _LEVELS):
        if cost(found) <= most:
            return found
        found = nearest_within(budget(level / _LEVELS), choices, cost, most)
    if of_channels:
        return first
    raise out_of_reach(wanted, 1 - cost(found) / full, settings.rounding.multiple)


def _overrides(channels: ChannelMap, settings: Settings) -> dict[int, int]:
    """``--layer GLOB=N``: the number of kept channels of the groups that the layers belong to."""
    names = [layer.name for layer in channels.layers]
    found: dict[int, int] = {}
    for glob, wanted in settings.layer:
        hits = matching((glob,), names, "--layer")
        for g in channels.groups:
            for producer in g.producers:
                if producer.layer.name not in hits:
                    continue
                rows = len(producer.layer.out_ids)
                n_keep = round(wanted * g.n / rows)
                least = max(1, int((~g.free).sum()))
                if not least <= n_keep <= g.n:
                    raise SelectionError(
                        f"--layer '{glob}={wanted}': '{producer.layer.name}' has {rows} channels,"
                        f" of which at least {least * rows // g.n} must stay"
                    )
                found[g.id] = n_keep
    return found


def _nothing_prunable(channels: ChannelMap, settings: Settings) -> str:
    if settings.include or settings.exclude:
        return "--include and --exclude leave no channel that could go; see `reprune-onnx analyze`"
    made = np.concatenate([layer.out_ids for layer in channels.layers] or [np.empty(0, int)])
    main = max(channels.locks, key=lambda lock: int(np.isin(made, lock.ids).sum()), default=None)
    reason = main.reason if main is not None else "there are no channels"
    hint = "" if settings.residual == "prune" else "try --residual prune, or "
    return f"nothing can be pruned ({reason}): {hint}see `reprune-onnx analyze` for every reason"


# ── selection ───────────────────────────────────────────────────────────────────────────────────


def _solve(
    channels: ChannelMap,
    settings: Settings,
    work: tuple[list[Group], Mapping[int, int], Knowledge, Bools],
) -> Iterator[tuple[Group, Choice]]:
    """(group, choice) of every group, in order."""
    groups, kept, known, keep = work
    if settings.method == "reconstruction" and known.losses is not None:
        for g in groups:
            order = known.losses.order.get(g.id)
            if order is None:  # no layer that could be measured reads it
                order = keep_highest(
                    group_problem(channels, g, kept[g.id], known), known.gammas[g.id]
                ).kept
            yield g, Choice(np.sort(order[: kept[g.id]]))
        return
    method, options, seed = settings.method, settings.select_options, settings.seed
    if settings.input_channels == "kept":
        for g in groups:
            problem = group_problem(channels, g, kept[g.id], known, keep)
            yield g, _select(problem, method, options, (seed, g.id))
        return
    tasks = (
        (group_problem(channels, g, kept[g.id], known), method, options, (seed, g.id))
        for g in groups
    )
    if settings.jobs == 1 or len(groups) < 2:
        yield from zip(groups, _overlapping(tasks), strict=True)
        return
    from joblib import Parallel, delayed

    results = Parallel(n_jobs=settings.jobs, return_as="generator")(
        delayed(_select)(*task) for task in tasks
    )
    yield from zip(groups, results, strict=True)


def _overlapping(tasks: Iterable[_Task]) -> Iterator[Choice]:
    """The choices, in order, two groups at a time: one is clustered while another is covered."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        waiting: deque[Future[Choice]] = deque()
        for task in tasks:
            waiting.append(pool.submit(_select, *task))
            if len(waiting) == _AT_ONCE:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _select(
    problem: Problem, method: Method, options: SelectOptions, stream: tuple[int, int]
) -> Choice:
    return select(problem, method, options, np.random.default_rng(list(stream)))


def group_problem(
    channels: ChannelMap, group: Group, n_keep: int, known: Knowledge, keep: Bools | None = None
) -> Problem:
    """The problem of keeping ``n_keep`` channels of a group.

    With ``keep (n_units,)`` only the input channels that stay are seen.
    """
    parts: list[Filters] = []
    for producer in group.producers:
        layer = producer.layer
        weight = channels.graph.array(layer.weight)
        inputs = None if keep is None else _kept_inputs(channels, layer, keep)
        transposed = layer.op == "ConvTranspose"
        found = filters(
            weight, producer.rows, layer.out_axis, layer.conv_groups, transposed, inputs
        )
        energy = known.energies.get(layer.node)
        parts += (
            found if energy is None else [_with_energy(f, layer, energy, inputs) for f in found]
        )
    return Problem(group.n, tuple(parts), known.gammas[group.id], ~group.free, n_keep)


def _with_energy(part: Filters, layer: Layer, energy: Floats, inputs: Ints | None) -> Filters:
    """The filters with each input channel's energy, the mean over a grouped layer's groups."""
    own = energy.reshape(layer.conv_groups, -1).mean(axis=0)
    own = own if inputs is None else own[inputs]
    return replace(part, energy=np.tile(own, part.kernels.shape[1] // len(own)))


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


def _with_parts(group: Group, choice: Choice, gamma: Floats) -> Choice:
    """The choice, with the channel of largest |γ| of every part that would otherwise be empty."""
    kept = set(choice.kept.tolist())
    for part in group.nonempty:
        if not kept.intersection(part.tolist()):
            kept.add(int(part[np.argmax(gamma[part])]))
    return replace(choice, kept=np.array(sorted(kept), dtype=np.int64))


def select_at(
    channels: ChannelMap, settings: Settings, known: Knowledge
) -> Callable[[Group, int], Ints] | None:
    """What the method keeps of a group, (k,), at any number k; None for elimination by losses."""
    if settings.method == "reconstruction":
        return None

    def kept(g: Group, k: int) -> Ints:
        problem = group_problem(channels, g, k, known)
        stream = (settings.seed, g.id)
        return _select(problem, settings.method, settings.select_options, stream).kept

    return kept
