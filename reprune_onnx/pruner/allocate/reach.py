"""The refusal of a reduction that is too much, with what can be reached."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor

from reprune_onnx.choices import Reduction
from reprune_onnx.errors import OutOfReachError
from reprune_onnx.settings import Settings
from reprune_onnx.types import Group

_NAMES = {
    "channels": "fewer channels",
    "macs": "fewer MACs",
    "params": "fewer parameters",
    "latency": "less latency",
}


def out_of_reach(
    wanted: Reduction,
    most: float,
    settings: Settings,
    groups: Sequence[Group],
    multiple: int = 1,
    how: str = "",
) -> OutOfReachError:
    """Return the error for a reduction of which at most ``most`` is possible at that rounding.

    ``how`` this is known, such as " (measured)", and which of the settings leave more when changed,
    stand in its message; ``groups`` are those that may be pruned.
    """
    rounded = f" with widths in multiples of {multiple}" if multiple > 1 else ""
    options = allowing_more(settings, groups, multiple)
    reached = f"{most:.1%}"
    if reached == f"{wanted.share:.1%}":  # of two numbers that look alike the one below says more
        reached = f"{floor(most * 1000) / 1000:.1%}"
    next_step = f"allow more with {' or '.join(options)}" if options else "ask for less"
    error = OutOfReachError(
        f"{wanted.share:.1%} {_NAMES[wanted.measure]} cannot be reached: at most {reached} can go"
        f" here{rounded}{how}; {next_step}"
    )
    error.most = most
    return error


def allowing_more(settings: Settings, groups: Sequence[Group], multiple: int = 1) -> list[str]:
    """Return the options that leave more to prune of ``groups`` when changed, at a rounding."""
    least = settings.fewest_channels(by_losses=settings.by_losses)
    branches = settings.by_losses and any(g.branch is not None for g in groups)
    return [
        option
        for option, helps in {
            "--residual prune": settings.residual != "prune",
            "more --include": bool(settings.include),
            "less --exclude": bool(settings.exclude),
            "a smaller --min-channels": least > 1 or (least == 1 and branches),
            "a smaller --round-to": multiple > 1,
        }.items()
        if helps
    ]
