"""The cases of a sweep: every way of choosing channels at every target."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import product
from typing import Any

from reprune_onnx import __version__
from reprune_onnx.in_memory import InMemory
from reprune_onnx.settings import Settings

VARIED = ("method", "coverage", "allocation", "recover")
"""The fields of settings that a sweep varies, beside the target."""


@dataclass(frozen=True)
class Case:
    """One pruning; ``name`` is that of its files, ``row`` what the table says of it."""

    settings: Settings
    name: str
    row: dict[str, Any]

    def key(self, source_sha256: str, data: str) -> str:
        """A hash of all that decides about the result."""
        calibration = data_key(self.settings.calibration)
        facts = [__version__, source_sha256, data, calibration, self.settings.as_report()]
        return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def data_key(data: str | InMemory | None) -> str | None:
    """The key of data: their text, or a hash of data in memory."""
    return data.digest() if isinstance(data, InMemory) else data


def cases(
    base: Settings, reductions: Sequence[float], ways: Mapping[str, Sequence[str]]
) -> list[list[Case]]:
    """Return the cases by how channels are chosen.

    Those of one list differ in recovery and in the reduction of MACs alone, so that they can share
    what has to be known of the channels. ``ways`` are the values of some settings, such as
    ``{"method": ["l1", "reprune"]}``; only the method reprune varies in its coverage.
    """
    by_selection: dict[tuple[str, ...], list[Case]] = {}
    for values in product(*ways.values()):
        chosen = dict(zip(ways, values, strict=True))
        if chosen.get("method", "reprune") != "reprune":
            chosen["coverage"] = "auto"
        way = by_selection.setdefault(tuple(v for k, v in chosen.items() if k != "recover"), [])
        for reduction in reductions:
            changes: dict[str, Any] = {"macs_reduction": reduction, **chosen}
            row = {k: str(v) for k, v in chosen.items()}
            parts = [v for k, v in row.items() if k != "coverage" or v != "auto"]
            name = re.sub(r"[^\w.+-]", "_", "-".join([*parts, f"{reduction:g}"]))
            if name not in (case.name for case in way):
                settings = replace(base, **changes)
                way.append(Case(settings, name, row | {"macs_reduction": reduction}))
    return list(by_selection.values())
