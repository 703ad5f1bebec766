"""The judge of every campaign: the file as it was written beside the masked original."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import onnx
from masked_oracle import (
    Feeds,
    behind_cuts,
    difference,
    masked,
    own_rounding,
    run,
    with_outputs,
)

import reprune_onnx as rp

ALLOWED = 1e-4
"""Of the largest magnitude; rounding makes some 1e-6."""
AMPLIFIED = 10
"""A difference of so many times what the original makes of its inputs' last digit is rounding."""


@dataclass(frozen=True)
class Judgement:
    """The difference from the right masked original, and from a wrong one where there was one.

    ``rounding`` is what is allowed where that is more than `ALLOWED`.
    """

    apart: float
    rounding: float = 0.0
    control: float | None = None

    @property
    def wrong(self) -> str:
        """What is wrong with the pruned file; nothing where it is exact."""
        exact = self.apart <= max(ALLOWED, self.rounding) < inf  # not where it is NaN
        return "" if exact else f"{self.apart:.3g} from the masked original"


def judged(
    original: onnx.ModelProto,
    result: rp.Pruned,
    inputs: Sequence[Feeds],
    wrong: rp.Pruned | None = None,
) -> Judgement:
    """Compare a pruned file with the original that its report masks, and that of a ``wrong`` one.

    Outputs are compared, and what stands right behind the cuts.
    """
    right = masked(original, result, inputs[0])
    names = behind_cuts(right, result, inputs[0])
    right = with_outputs(right, names)
    found = run(with_outputs(result.model.proto, names), inputs)
    apart = difference(run(right, inputs), found)
    rounding = AMPLIFIED * own_rounding(right, inputs) if apart > ALLOWED else 0.0
    if wrong is None:
        return Judgement(apart, rounding)
    other = with_outputs(masked(original, wrong, inputs[0]), names)
    return Judgement(apart, rounding, difference(run(other, inputs), found))
