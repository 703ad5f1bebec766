"""Progress while work proceeds: how far a stage is, and how long it has taken."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

Progress = Callable[[str, int, int], None]  # (stage, done, total)
Steps = Callable[[int, int], None]  # (done, total) of the only stage there is


@dataclass
class Watch:
    """``progress`` is called as work proceeds; ``seconds`` are those of every stage."""

    progress: Progress | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of a ``with`` block to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            passed = time.perf_counter() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + passed
