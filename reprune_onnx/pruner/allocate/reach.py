"""What is said where a reduction is too much."""

from __future__ import annotations

from reprune_onnx.errors import SelectionError
from reprune_onnx.types import Reduction

_NAMES = {
    "channels": "fewer channels",
    "macs": "fewer MACs",
    "params": "fewer parameters",
    "latency": "less latency",
}


def out_of_reach(wanted: Reduction, most: float) -> SelectionError:
    """Return the error for a reduction of which at most the share ``most`` is possible."""
    return SelectionError(
        f"{wanted.share:.1%} {_NAMES[wanted.measure]} cannot be reached: at most {most:.1%}"
        " can go here; allow more with --residual prune"
    )
