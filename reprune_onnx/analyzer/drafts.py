"""Drafts of facts that rules state during the walk, before all ties are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from reprune_onnx.analyzer.graph import Op
from reprune_onnx.types import Ints, LockKind, Role, Shape


@dataclass(frozen=True)
class SiteDraft:
    """A site whose labels may still vary along several axes; ``along`` is the one that is meant."""

    op: Op
    input: int
    axis: int
    labels: Ints
    along: int
    role: Role


@dataclass(frozen=True)
class CountDraft:
    """An integer that must equal the kept positions ``start:stop`` along ``along`` of ``labels``.

    ``labels`` is None where the integer must not change at all.
    """

    op: Op
    attribute: str
    input: int
    index: int
    labels: Ints | None
    along: int = 0
    start: int = 0
    stop: int | None = None
    sign: int = 1


@dataclass(frozen=True)
class LockDraft:
    """Labels that must stay, and why."""

    node: str
    ids: Ints
    reason: str
    kind: LockKind = "node"


@dataclass(frozen=True)
class LayerDraft:
    """A layer with a constant weight, as the rule saw it; ``more`` weights it uses as often."""

    op: Op
    input: int
    shape: tuple[int, ...]
    out_axis: int
    out: Ints
    conv_groups: int
    positions: int
    more: tuple[tuple[int, tuple[int, ...]], ...] = ()


@dataclass(frozen=True)
class PassingDraft:
    """A product with a constant matrix whose rows are channels, or other labels, by themselves.

    The operand ``input`` of ``shape`` carries the labels ``ids (n,)``. Its axes and those of the
    ``other`` operand have one letter each; the first ``images`` of its axes count images.
    """

    op: Op
    input: int
    ids: Ints
    letters: str
    images: int
    shape: Shape
    other: Mapping[str, int]

    @property
    def macs(self) -> float | None:
        """The multiply-adds that each label costs an image; None where an extent is not known."""
        extents = dict(self.other)
        for letter, n in list(zip(self.letters, self.shape, strict=True))[self.images :]:
            if n is None:
                return None
            extents[letter] = max(n, extents.get(letter, 1))
        return prod(extents.values()) / self.ids.size


@dataclass(frozen=True)
class SummedDraft:
    """A product of two activations that sums over the channels of both, of input ``input`` here."""

    op: Op
    input: int


@dataclass(frozen=True)
class StatisticDraft:
    """A mean, norm or extreme over the channels along ``axis`` of what ``op`` reads as ``inputs``.

    ``outputs`` of it have these channels too.
    """

    op: Op
    axis: int
    outputs: tuple[int, ...]
    inputs: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class GroupedConv:
    """A convolution in ``g`` groups: inputs ``(g, n_in/g)``, outputs ``(g, n_out/g)``.

    Either whole groups go, or the same slots of every group; `resolve` decides which.
    """

    op: Op
    inputs: Ints
    outputs: Ints


@dataclass(frozen=True)
class ResidualAdd:
    """An element-wise sum of activations that tied the labels of different producers."""

    op: Op
    operands: tuple[Ints, ...]
