"""The selection whose reduction is nearest to what is wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.choices import Reduction
from reprune_onnx.errors import SelectionError
from reprune_onnx.pruner.measure import reduction
from reprune_onnx.search.share_search import ShareSearch
from reprune_onnx.types import ChannelMap, Selection


def nearest_selection(
    select: Callable[[Reduction], Selection],
    wanted: Reduction,
    graph: Graph,
    channels: ChannelMap,
    *,
    at_least: bool,
) -> Selection:
    """Choose channels so that as much goes as is wanted; with ``at_least`` no less.

    Where some layers have more of a group's channels than others, what a number of channels costs
    depends on which they are. Then a little more or less is asked for, until what is wanted is
    reached. Raises SelectionError where not even the first share can be selected.
    """
    search = ShareSearch[Selection](wanted.share, at_least=at_least)
    while (share := search.next()) is not None:
        try:
            selection = select(replace(wanted, share=share))
        except SelectionError:
            if not search.tried:
                raise
            break
        expected = selection.expected
        reached = reduction(graph, channels, selection.keep, wanted.measure)
        if reached is None:  # channels: what was expected is what is there
            assert expected is not None  # `allocate` says what it expects
            reached = expected
        search.add(share, reached, selection, expected)
    return search.best()
