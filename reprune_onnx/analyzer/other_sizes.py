"""Computed numbers at other sizes than those analysed, where the file leaves some open."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.analyzer.numbers import Numbers
from reprune_onnx.analyzer.walk import Walk
from reprune_onnx.errors import ModelError
from reprune_onnx.shapes import stated_shapes


class OtherSizes:
    """The numbers of a graph for twice as many images, and for images with sides twice as long.

    ``shapes`` are those analysed; an extent that the file states is never changed. ``walked``
    returns the numbers of a walk at given shapes. Walks are taken when a number is first asked for.
    """

    def __init__(
        self,
        graph: Graph,
        shapes: dict[str, tuple[int, ...]],
        walked: Callable[[dict[str, tuple[int, ...]]], Walk],
    ) -> None:
        self._graph = graph
        self._shapes = shapes
        self._walked = walked

    def keep(self, tensor: str, index: int, value: float | None) -> bool:
        """Whether element ``index`` of the computed ``tensor`` has this value at all sizes.

        A size at which the value cannot be told says nothing.
        """
        elsewhere = [numbers[tensor] for numbers in self._numbers if tensor in numbers]
        elements = [some.ravel()[index] for some in elsewhere if some.size > index]
        return all(element.value in (None, value) for element in elements)

    @cached_property
    def _numbers(self) -> list[dict[str, Numbers]]:
        """The numbers by tensor, of each walk that could be taken."""
        walks = []
        for images in (True, False):
            shapes = self._doubled(images)
            if shapes == self._shapes:
                continue
            try:
                walks.append(self._walked(shapes).numbers)
            except ModelError:
                continue  # the graph does not fit these sizes
        return walks

    def _doubled(self, images: bool) -> dict[str, tuple[int, ...]]:
        """The shapes with open extents doubled: those of the first axis, or of all others."""
        doubled = {}
        stated = stated_shapes(self._graph.proto, {})
        for name, shape in self._shapes.items():
            told = stated.get(name) or (None,) * len(shape)
            doubled[name] = tuple(
                2 * extent if known is None and (axis == 0) == images else extent
                for axis, (extent, known) in enumerate(zip(shape, told, strict=False))
            )
        return doubled
