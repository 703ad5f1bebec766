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


def out_of_reach(wanted: Reduction, most: float, multiple: int = 1) -> SelectionError:
    """Return the error for a reduction of which at most ``most`` is possible at that rounding."""
    rounded = f" with widths in multiples of {multiple}" if multiple > 1 else ""
    smaller = " or a smaller --round-to" if multiple > 1 else ""
    return SelectionError(
        f"{wanted.share:.1%} {_NAMES[wanted.measure]} cannot be reached: at most {most:.1%}"
        f" can go here{rounded}; allow more with --residual prune{smaller}"
    )
