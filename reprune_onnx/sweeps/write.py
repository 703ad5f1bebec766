"""The files of a finished sweep."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from reprune_onnx.atomic import write_atomically
from reprune_onnx.sweeps.pareto import plot, table
from reprune_onnx.sweeps.run import Job


def write(job: Job, rows: Sequence[dict[str, Any]], command: Sequence[str]) -> None:
    """Write ``sweep.json``, ``sweep.md``, ``pareto.png`` and ``pareto.svg`` into the folder."""
    model = str(job.model)
    data = None if job.data is None else str(job.data)
    facts = {"schema": 1, "model": model, "data": data, "command": list(command)}
    facts["rows"] = list(rows)
    write_atomically(job.folder / "sweep.json", json.dumps(facts, indent=1).encode())
    write_atomically(job.folder / "sweep.md", table(rows).encode(errors="backslashreplace"))
    plot(rows, [job.folder / f"pareto.{kind}" for kind in ("png", "svg")], job.model.name)
