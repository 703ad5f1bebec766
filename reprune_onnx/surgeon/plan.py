"""The changes that a cut needs, decided before the first is made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.analyzer.graph import Graph, captured
from reprune_onnx.types import Bools, ChannelMap, Count

_END = 2**31 - 1  # a bound from the end, behind which nothing is left: up to the end
Use = tuple[int, int]
"""(node, input): one place where a constant is read; node -1 stands for the graph's outputs."""


@dataclass
class Edit:
    """The changes that one use of a constant needs: positions to keep per axis, new integers."""

    keep: dict[int, NDArray[np.int64]] = field(default_factory=dict)
    integers: dict[int, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether anything changes."""
        return bool(self.keep or self.integers)

    def signature(self) -> tuple[Any, ...]:
        """The key of this edit; equal edits share one tensor."""
        axes = tuple((a, self.keep[a].tobytes()) for a in sorted(self.keep))
        return axes, tuple(sorted(self.integers.items()))

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """The edited constant: integers first, whose indices are those of the whole, then cuts."""
        if self.integers:
            array = array.copy()
            for index, value in self.integers.items():
                array.flat[index] = value
        for axis, keep in sorted(self.keep.items()):
            array = array.take(keep, axis=axis)
        return array


def edits_of(graph: Graph, channels: ChannelMap, keep: Bools) -> dict[Use, Edit]:
    """The edits of constants: a cut for every site, a new integer for every count there."""
    edits: dict[Use, Edit] = {}
    for site in channels.sites:
        kept = np.flatnonzero(keep[site.ids])
        if len(kept) < len(site.ids):
            edits.setdefault((site.node, site.input), Edit()).keep[site.axis] = kept
    for count in channels.counts:
        given = graph.ops[count.node].has(count.input)
        if count.attribute or not given or _is_written(channels, count):
            continue
        value = _value(count, keep)
        name = graph.ops[count.node].inputs[count.input]
        if value != int(graph.array(name).flat[count.index]):
            edit = edits.setdefault((count.node, count.input), Edit())
            edit.integers[count.index] = value
    return edits


def _is_written(channels: ChannelMap, count: Count) -> bool:
    """Whether the graph computes this number, and it is written down instead."""
    computed = channels.written.get((count.node, count.input))
    return computed is not None and bool(computed.fixed.flat[count.index])


def _value(count: Count, keep: Bools) -> int:
    kept = int(keep[count.ids].sum())
    if count.sign < 0 and kept == 0:
        return _END
    return count.sign * kept


def uses_by_constant(graph: Graph, edits: dict[Use, Edit]) -> dict[str, dict[Use, Edit]]:
    """Every use of every constant that is edited somewhere, unedited uses included.

    But for a Shape: no copy of the whole is kept for it, see `measured`.
    """
    names = {graph.ops[node].inputs[i] for node, i in edits}
    uses: dict[str, dict[Use, Edit]] = {}
    for op in graph.ops:
        if op.type == "Shape":
            continue
        for i, name in enumerate(op.inputs):
            if name in names:
                uses.setdefault(name, {})[op.index, i] = edits.get((op.index, i), Edit())
        for name in captured(op) & names:
            uses.setdefault(name, {})[-1, op.index] = Edit()
    for name in names & set(graph.outputs):
        uses[name][-1, -1] = Edit()
    return _through_identity(graph, uses)


def _through_identity(graph: Graph, uses: dict[str, dict[Use, Edit]]) -> dict[str, dict[Use, Edit]]:
    """The same, but where all that read a constant or copies of it need one edit, it is its own.

    Identity passes it on to the copies. Elsewhere each copy becomes a tensor of its own.
    """
    roots = {graph.origin(name) for name in uses if graph.origin(name) != name}
    together: dict[str, dict[Use, Edit]] = {root: {} for root in roots}
    for op in graph.ops if roots else ():
        passes = op.type == "Identity" and op.outputs[0] in graph.derived
        for i, name in enumerate(op.inputs):
            root = graph.origin(name)
            if root in roots and not passes:
                together[root][op.index, i] = uses.get(name, {}).get((op.index, i), Edit())
        for name in captured(op):
            together.get(graph.origin(name), {})[-1, op.index] = Edit()
    for name in graph.outputs:
        together.get(graph.origin(name), {})[-1, -1] = Edit()
    for root, edits in together.items():
        if all(edits.values()) and len({edit.signature() for edit in edits.values()}) == 1:
            uses = {name: u for name, u in uses.items() if graph.origin(name) != root}
            uses[root] = edits
    return uses


def measured(graph: Graph, edits: dict[Use, Edit]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """(node, extents) of every Shape of a constant that is edited elsewhere, as they were."""
    names = {graph.ops[node].inputs[i] for node, i in edits}
    for op in graph.ops:
        if op.type == "Shape" and op.inputs[0] in names:
            window = slice(op.attrs.get("start"), op.attrs.get("end"))
            yield op.index, np.array(graph.shape(op.inputs[0])[window], dtype=np.int64)


def attributes(channels: ChannelMap, keep: Bools) -> Iterator[tuple[int, str, dict[int, int]]]:
    """(node, attribute, {index: value}) of every attribute that counts channels."""
    by_attribute: dict[tuple[int, str], dict[int, int]] = {}
    for count in channels.counts:
        if count.attribute:
            key = (count.node, count.attribute)
            by_attribute.setdefault(key, {})[count.index] = _value(count, keep)
    for (node, attribute), values in by_attribute.items():
        yield node, attribute, values


def missing_sizes(
    graph: Graph, channels: ChannelMap, keep: Bools
) -> Iterator[tuple[int, int, list[int]]]:
    """Split without sizes: they are written down where the parts are no longer equal."""
    by_use: dict[Use, list[Count]] = {}
    for count in channels.counts:
        if not count.attribute and not graph.ops[count.node].has(count.input):
            by_use.setdefault((count.node, count.input), []).append(count)
    for (node, i), counts in by_use.items():
        sizes = [_value(c, keep) for c in sorted(counts, key=lambda c: c.index)]
        if sizes != _unstated(sizes, graph.ops[node].opset):
            yield node, i, sizes


def written(channels: ChannelMap, keep: Bools) -> dict[Use, tuple[NDArray[Any], Bools]]:
    """Computed numbers that would not follow, at the values they must have, and which these are.

    Also those that must keep their value: what they are computed from changes all the same.
    """
    arrays = {
        place: (computed.values.copy(), computed.fixed)
        for place, computed in channels.written.items()
        if not keep[computed.units].all()
    }
    for count in channels.counts:
        place = (count.node, count.input)
        if place in arrays and not count.attribute and arrays[place][1].flat[count.index]:
            arrays[place][0].flat[count.index] = _value(count, keep)
    return arrays


def _unstated(sizes: list[int], opset: int) -> list[int]:
    """The parts of a Split without sizes: equal, and since opset 18 with a smaller last one."""
    total, parts = sum(sizes), len(sizes)
    if opset < 18:
        return [total // parts] * parts
    step = -(-total // parts)
    return [min(step, total - k * step) for k in range(parts)]
