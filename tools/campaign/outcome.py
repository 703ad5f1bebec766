"""The outcome of one case, and the sum of many as a JSON file that a later run continues."""

from __future__ import annotations

import json
import platform
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from reprune_onnx.atomic import write_atomically

PACKAGES = ("numpy", "scipy", "onnx", "onnxruntime", "onnx-graphsurgeon")


@dataclass(frozen=True)
class Outcome:
    """``detail`` is the reason of a refusal, or a failure and the way to reproduce it.

    ``seen`` counts whatever is worth a line in the summary (ops, options). ``difference`` is that
    of an exact pruning; ``control`` that of a wrong one, where one was made to test the judge.
    """

    end: Literal["exact", "refused", "failed"]
    detail: str = ""
    seen: tuple[str, ...] = ()
    difference: float = 0.0
    control: float | None = None


@dataclass
class Summary:
    """A campaign so far: cases 0 to ``cases`` - 1 of its seed."""

    kind: str
    seed: int
    cases: int = 0
    exact: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    failed: dict[str, str] = field(default_factory=dict)
    seen: Counter[str] = field(default_factory=Counter)
    largest_difference: float = 0.0
    controls: int = 0
    controls_seen: int = 0
    cpu_seconds: float = 0.0

    def add(self, outcomes: Iterable[Outcome], seconds: float, allowed: float) -> None:
        """Add the next cases, in order."""
        for o in outcomes:
            if o.end == "exact":
                self.exact += 1
                self.largest_difference = max(self.largest_difference, o.difference)
            elif o.end == "refused":
                self.refused[anonymous(o.detail)] += 1
            else:
                self.failed[str(self.cases)] = o.detail
            if o.control is not None:
                self.controls += 1
                self.controls_seen += o.control > allowed
            self.seen.update(o.seen)
            self.cases += 1
        self.cpu_seconds += seconds

    def write(self, path: Path) -> None:
        """Write the figures, with the versions that they belong to."""
        facts: dict[str, Any] = vars(self) | {
            "cpu_seconds": round(self.cpu_seconds, 1),
            "cases_per_cpu_second": round(self.cases / max(self.cpu_seconds, 1e-9), 1),
            "refused": dict(self.refused.most_common()),
            "refused_cases": sum(self.refused.values()),
            "seen": dict(sorted(self.seen.items())),
            "versions": {"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
        }
        write_atomically(path, json.dumps(facts, indent=1, ensure_ascii=False).encode())

    @classmethod
    def read(cls, path: Path, kind: str, seed: int) -> Summary:
        """Return what was reached; a new one where there is no file. ValueError for another one."""
        if not path.exists():
            return cls(kind, seed)
        facts = json.loads(path.read_text(encoding="utf-8"))
        if (facts["kind"], facts["seed"]) != (kind, seed):
            raise ValueError(f"'{path}' is of another campaign: {facts['kind']} {facts['seed']}")
        fields = {name: facts[name] for name in cls.__dataclass_fields__}
        for name in ("refused", "seen"):
            fields[name] = Counter(fields[name])
        return cls(**fields)


def anonymous(reason: str) -> str:
    """A reason without the names and numbers of the case, and without what others say of it."""
    reason = re.sub(r"(ONNX Runtime cannot (load|run) ).*", r"\1it", reason)
    reason = re.sub(r"(damaged values: |fit together ).*", r"\1…", reason)
    return re.sub(r"\d[\d.,]*", "N", re.sub(r"'[^']*'", "'…'", reason))
