"""The attempt that was taken, and what was measured of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from reprune_onnx.prepared import Attempt


@dataclass(frozen=True)
class SearchResult:
    """``reached`` are further targets that were measured; ``details`` fields of the report."""

    attempt: Attempt
    reached: dict[str, float] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
