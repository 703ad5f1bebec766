"""The search for the share to ask for, so that the wanted one is reached."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

_TRIES = 6

T = TypeVar("T")


@dataclass
class ShareSearch(Generic[T]):
    """Shares that were asked for, and what they gave; ``at_least``: less than wanted is a miss.

    What an allocation expects is usually what it gives. Where it is not, the next share lies on the
    line through the nearest results below and above, or else is moved by what was missed, until one
    is ``near``. No more is asked for than ``most``.
    """

    wanted: float
    at_least: bool = False
    near: float = 0.0025  # a quarter of a percentage point
    most: float = 1.0
    tried: list[tuple[float, float, T]] = field(default_factory=list)
    _hit: bool = False

    def next(self) -> float | None:
        """Return the share to ask for; None where no other would do better."""
        if not self.tried:
            return min(self.wanted, self.most)
        if self._hit or len(self.tried) == _TRIES:
            return None
        below = [(r, a) for a, r, _ in self.tried if r < self.wanted]
        above = [(r, a) for a, r, _ in self.tried if r >= self.wanted]
        if below and above:
            (r0, a0), (r1, a1) = max(below), min(above)
            share = a0 + (a1 - a0) * (self.wanted - r0) / (r1 - r0)
        else:
            end = min if above else max  # what is measured need not grow with what is asked
            asked, reached = end(a for a, _, _ in self.tried), end(r for _, r, _ in self.tried)
            step = self.wanted - reached
            if self.at_least and not above:
                # Widths may be coarse: ever longer steps reach the next.
                step = max(step, self.near * 2 ** (len(self.tried) - 1))
            share = asked + step
        share = min(round(min(max(share, 0.001), 0.999), 4), self.most)
        return None if any(share == a for a, _, _ in self.tried) else share

    def add(self, asked: float, reached: float, result: T, expected: float | None = None) -> None:
        """Take note of what a share gave, and what it was expected to give."""
        self.tried.append((asked, reached, result))
        missed = self.wanted - reached
        near = abs(missed) <= self.near
        as_expected = expected is not None and abs(reached - expected) < self.near
        enough = missed <= 0 or not self.at_least
        self._hit = enough and (near or (as_expected and len(self.tried) == 1))

    def best(self) -> T:
        """Return what came nearest."""
        enough = [t for t in self.tried if t[1] >= self.wanted] if self.at_least else []
        return min(enough or self.tried, key=lambda t: abs(t[1] - self.wanted))[2]
