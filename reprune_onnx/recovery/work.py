"""The inputs of a recovery method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reprune_onnx.activations.images import Images
from reprune_onnx.activations.workers import Workers
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.recovery.constants import Constant
from reprune_onnx.recovery.plan import Step
from reprune_onnx.types import Bools, ChannelMap, Model
from reprune_onnx.watch import Progress


@dataclass(frozen=True)
class Work:
    """A pruned model to repair, and its original.

    Both are in float32. ``channels`` of ``graph`` describe the original, of which only the units
    ``keep (n_units,)`` are left. ``steps`` are the layers that read what was cut, in graph order:
    values of others change nothing. ``constants`` stand for branches that are gone. ``images`` are
    there where the method needs them, and ``workers`` to run batches on.
    """

    original: Model
    pruned: Model
    graph: Graph
    channels: ChannelMap
    keep: Bools
    steps: Sequence[Step]
    constants: Sequence[Constant]
    given: Images | None
    workers: Workers
    progress: Progress | None = None

    @property
    def models(self) -> tuple[Model, Model]:
        """The original and the pruned model."""
        return self.original, self.pruned

    @property
    def images(self) -> Images:
        """The calibration images, for a method that needs them."""
        assert self.given is not None  # `recover` has refused
        return self.given
