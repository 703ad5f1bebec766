"""What to ask for, so that what is reached is what was wanted."""

from __future__ import annotations

from dataclasses import dataclass, field

from reprune_onnx.types import Selection

_TRIES = 6
_NEAR = 0.0025  # a quarter of a percentage point


@dataclass
class Aim:
    """Shares that were asked for, and what they gave; ``at_least``: less than wanted is a miss.

    What an allocation expects is usually what it gives. Where it is not, the next share lies on the
    line through the nearest results below and above, or else is moved by what was missed.
    """

    wanted: float
    at_least: bool = False
    tried: list[tuple[float, float, Selection]] = field(default_factory=list)
    _hit: bool = False

    def next(self) -> float | None:
        """Return the share to ask for; None where no other would do better."""
        if not self.tried:
            return self.wanted
        if self._hit or len(self.tried) == _TRIES:
            return None
        below = [(r, a) for a, r, _ in self.tried if r < self.wanted]
        above = [(r, a) for a, r, _ in self.tried if r >= self.wanted]
        if below and above:
            (r0, a0), (r1, a1) = max(below), min(above)
            share = a0 + (a1 - a0) * (self.wanted - r0) / (r1 - r0)
        else:
            reached, asked = min(above) if above else max(below)
            share = asked + self.wanted - reached
        share = round(min(max(share, 0.001), 0.999), 4)
        return None if any(share == a for a, _, _ in self.tried) else share

    def add(self, asked: float, reached: float, expected: float, selection: Selection) -> None:
        """Take note of what a share gave, and what it was expected to give."""
        self.tried.append((asked, reached, selection))
        missed = self.wanted - reached
        near = -_NEAR <= missed <= (0 if self.at_least else _NEAR)
        as_expected = len(self.tried) == 1 and abs(reached - expected) < _NEAR
        self._hit = near or as_expected

    def best(self) -> Selection:
        """Return the selection that came nearest."""
        enough = [t for t in self.tried if t[1] >= self.wanted] if self.at_least else []
        return min(enough or self.tried, key=lambda t: abs(t[1] - self.wanted))[2]
