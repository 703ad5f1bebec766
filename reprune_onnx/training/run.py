"""A run of training: the files that it leaves, and the functions that it tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from reprune_onnx.errors import OutputError
from reprune_onnx.training.checkpoint import Checkpoint
from reprune_onnx.training.log import RunLog, log_path
from reprune_onnx.watch import Progress

_PLACES = ("accelerator", "devices", "workers")


@dataclass(frozen=True)
class Run:
    """Where a run leaves what it knows; nothing is written without ``out``.

    ``out`` names the model that will be written: the checkpoint and the JSON log lie beside it.
    ``restart`` ignores a checkpoint. ``on_epoch`` is called with every epoch's record. ``command``
    are the words that were typed, for the log. ``on_line`` is called with every sentence about what
    was found or decided. Raises OutputError where ``tensorboard`` is a file.
    """

    out: Path | None = None
    tensorboard: Path | None = None
    restart: bool = False
    progress: Progress | None = None
    on_epoch: Callable[[dict[str, Any]], None] | None = None
    on_line: Callable[[str], None] | None = None
    input_shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    write_log: bool = True
    save_seconds: float = 60.0
    command: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.tensorboard is not None and self.tensorboard.is_file():
            raise OutputError(
                f"--tensorboard '{self.tensorboard}' is a file; give the name of a folder"
            )

    def checkpoint(self, facts: Mapping[str, Any]) -> Checkpoint | None:
        """The checkpoint of this run, which is of no other; it may go on on other devices."""
        if self.out is None:
            return None
        settings = {k: v for k, v in facts["settings"].items() if k not in _PLACES}
        checkpoint = Checkpoint.of(self.out, {**facts, "settings": settings})
        if self.restart:
            checkpoint.delete()
        return checkpoint

    def part(self, k: int) -> Run:
        """Round ``k`` of this run: with a checkpoint of its own, and no log file of its own."""
        out = None if self.out is None else self.out.with_name(f"{self.out.stem}.round{k}.onnx")
        board = None if self.tensorboard is None else self.tensorboard / f"round{k}"
        return replace(self, out=out, tensorboard=board, write_log=False)

    def log(self, facts: dict[str, Any], main: bool) -> RunLog:
        """The log; of several processes only the ``main`` one writes."""
        facts = {"command": list(self.command) or None, **facts}
        if not main:
            return RunLog(facts, main=False)
        path = None if self.out is None or not self.write_log else log_path(self.out)
        return RunLog(facts, path, self.tensorboard)
