"""Checkpoints: one file, either old or new, read without running any code of it."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from reprune_onnx.atomic import write_atomically
from reprune_onnx.errors import OutputError


@dataclass(frozen=True)
class Checkpoint:
    """The checkpoint of one run at ``path``; ``run`` tells it from checkpoints of other runs."""

    path: Path
    run: str

    @classmethod
    def of(cls, out: Path, facts: dict[str, Any]) -> Checkpoint:
        """The checkpoint beside ``out``; ``facts`` are all that decides about the result."""
        text = json.dumps(facts, sort_keys=True)
        run = hashlib.sha256(text.encode()).hexdigest()
        return cls(out.with_name(f"{out.stem}.checkpoint.pt"), run)

    def save(self, state: dict[str, Any]) -> None:
        """Write ``state`` (tensors, numbers, text, lists and dicts of these)."""
        buffer = io.BytesIO()
        torch.save({"run": self.run, "state": state}, buffer)
        write_atomically(self.path, buffer.getvalue())

    def load(self) -> dict[str, Any] | None:
        """The state to go on from, None without one.

        Raises OutputError for the checkpoint of a run with other settings, model or data.
        """
        if not self.path.exists():
            return None
        try:
            content = torch.load(self.path, map_location="cpu", weights_only=True)
            run, state = content["run"], dict(content["state"])
        except (RuntimeError, pickle.UnpicklingError, KeyError, TypeError, EOFError, OSError) as e:
            raise OutputError(
                f"'{self.path}' is no checkpoint of this tool, or it is damaged: delete it, or give"
                " --restart"
            ) from e
        if run != self.run:
            raise OutputError(
                f"'{self.path}' belongs to a run with another model, data or settings: give"
                " --restart to begin anew, or another OUT"
            )
        return state

    def delete(self) -> None:
        """Remove the file: the run is complete."""
        self.path.unlink(missing_ok=True)
