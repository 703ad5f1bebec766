"""Why what was reached is not what was asked for, and what can be reached next to that."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.choices import Reduction
from reprune_onnx.pruner.allocate.exchange import NEAR, Exchange
from reprune_onnx.pruner.allocate.multilinear import Multilinear, multilinear
from reprune_onnx.pruner.allocate.overrides import overrides
from reprune_onnx.pruner.allocate.reach import allowing_more
from reprune_onnx.pruner.allocate.widths import widths
from reprune_onnx.settings import Settings
from reprune_onnx.types import Bools, ChannelMap, Floats, Group, Ints

MISSED = 0.01  # of the whole, from where on it is said


@dataclass(frozen=True)
class Missed:
    """``why`` is a clause; ``less`` and ``more`` are the reductions next to what was asked for.

    They are None where none can be reached on that side, or where it is not known.
    """

    why: str
    less: float | None
    more: float | None
    next_step: str


def missed(
    graph: Graph,
    channels: ChannelMap,
    settings: Settings,
    keep: Bools,
    wanted: Reduction,
    reached: float,
) -> Missed | None:
    """Explain a reduction that is more than a point off; None where it is near, or a latency.

    ``keep`` is ``(n_units,)``; ``reached`` is the share of ``wanted.measure`` that goes.
    """
    if wanted.measure == "latency" or abs(reached - wanted.share) <= MISSED:
        return None
    groups = [g for g in channels.groups if g.free.any()]
    if not groups:
        return None
    cost = multilinear(graph, channels, groups, wanted.measure)
    fixed = overrides(channels, settings)
    choices = [widths(g, settings, fixed, by_losses=settings.by_losses) for g in groups]
    kept = np.array([int(keep[g.units].sum()) for g in groups])
    full = cost(np.array([g.n for g in groups]))
    reducible = full
    if wanted.measure == "channels":
        reducible = float(sum(g.free.sum() for g in groups))
    goal = full - wanted.share * reducible

    def share(k: Ints) -> float:
        return (full - cost(k)) / reducible

    least = share(np.array([v[0] for v in choices]))
    multiple = settings.rounding.multiple
    options = allowing_more(settings, groups, multiple)
    step = f"allow more with {' or '.join(options)}" if options else ""
    if reached < wanted.share and least < wanted.share - NEAR:
        why = f"every layer keeps the least that it may{_because(settings)}: no more than this goes"
        return Missed(why, reached, None, step)
    if reached > wanted.share and share(np.array([v[-1] for v in choices])) > wanted.share + NEAR:
        why = f"no layer keeps more than it may{_because(settings)}: no less than this goes"
        return Missed(why, None, reached, "")
    if abs(share(kept) - reached) > NEAR:
        why = "layers that share channels have unequal parts of them, so not every share can be met"
        return Missed(why, None, None, step)
    less, more = (_next(kept, choices, cost, (goal, reducible), sign) for sign in (1, -1))
    below, above = (None if k is None else share(k) for k in (less, more))
    nearest = min((abs(s - wanted.share) for s in (below, above) if s is not None), default=1.0)
    if multiple > 1:
        why = "rounding takes the next widths that cost no more than was asked"
        step = "--round-to 1 allows any width"
    elif settings.by_losses and nearest < abs(reached - wanted.share) - NEAR:
        why = "what is nearer loses more on the --calibration images"
        step = "--allocation bn-gamma or uniform goes by the target alone"
    else:
        why = _steps(groups, kept, choices, cost, reducible, settings)
    return Missed(why, below, above, step)


def _next(
    kept: Ints,
    choices: list[Ints],
    cost: Multilinear,
    goal: tuple[float, float],
    sign: int,
) -> Ints | None:
    """The channels kept per group (n_groups,) whose cost is next above the goal, or below it."""
    wanted, reducible = goal

    def score(costs: Floats, penalties: Floats) -> Floats:
        away = sign * (costs - wanted) / reducible + penalties
        scores: Floats = np.where(away >= 0, away, np.inf)
        return scores

    free = [np.zeros(len(v)) for v in choices]
    neighbour = Exchange(choices, free, cost, score).improve(kept)
    return neighbour if sign * (cost(neighbour) - wanted) >= 0 else None


def _because(settings: Settings) -> str:
    """The options that bound the number of channels of a layer, in parentheses."""
    bounds = []
    if settings.min_channels is not None and settings.min_channels > 1:
        bounds.append(f"--min-channels {settings.min_channels}")
    if settings.layer:
        bounds.append("--layer")
    if settings.rounding:
        bounds.append(f"multiples of {settings.rounding.multiple}")
    return f" ({', '.join(bounds)})" if bounds else ""


def _steps(
    groups: list[Group],
    kept: Ints,
    choices: list[Ints],
    cost: Multilinear,
    reducible: float,
    settings: Settings,
) -> str:
    """The coarseness of the steps: the points of the smallest, and the layer that takes it."""
    now, steps = cost(kept), []
    for g, (group, values) in enumerate(zip(groups, choices, strict=True)):
        others = values[np.abs(values - kept[g]) == 1]
        around = cost.along(g, kept.astype(np.float64), others)
        steps += [(abs(float(c) - now), group.producers[0].layer.name) for c in around]
    coarse = f"steps are coarse{' in the scope of --include' if settings.scoped else ''}"
    step, name = min((s for s in steps if s[0] > 0), default=(0.0, ""))
    if not name:
        return coarse
    return f"{coarse}: a channel of '{name}', the smallest, is {100 * step / reducible:.1f} points"
