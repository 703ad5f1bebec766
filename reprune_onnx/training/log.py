"""The log of a training run: a JSON file, and one for TensorBoard on request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reprune_onnx.atomic import write_atomically
from reprune_onnx.json_text import json_bytes
from reprune_onnx.tool import this_tool

SCHEMA = 1


def log_path(out: Path) -> Path:
    """``x.training.json`` beside ``x.onnx``."""
    return out.with_name(f"{out.stem}.training.json")


@dataclass
class RunLog:
    """The facts of a run, then one record per epoch; ``files`` are written after every epoch.

    ``path`` None writes nothing; ``tensorboard`` is a folder for TensorBoard. ``main``: this is the
    process that tells and writes.
    """

    facts: dict[str, Any]
    path: Path | None = None
    tensorboard: Path | None = None
    main: bool = True
    epochs: list[dict[str, Any]] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Everything, in JSON's types."""
        head = {"schema": SCHEMA, "tool": this_tool()}
        return {**head, **self.facts, "epochs": self.epochs, "result": self.result}

    def add(self, record: Mapping[str, Any]) -> None:
        """Take in an epoch."""
        self.epochs.append(dict(record))
        self.write()
        if self.tensorboard is not None:
            self._board(record)

    def write(self) -> None:
        """Write the JSON file anew."""
        if self.path is not None:
            write_atomically(self.path, json_bytes(self.as_json()))

    def _board(self, record: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(str(self.tensorboard)) as writer:
            for key, value in record.items():
                if isinstance(value, (int, float)) and key != "epoch":
                    writer.add_scalar(key, value, record["epoch"])
                elif isinstance(value, dict):
                    for name, number in value.items():
                        writer.add_scalar(f"{key}/{name}", number, record["epoch"])
