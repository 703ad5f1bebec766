"""Every option of `bench`, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from reprune_onnx.errors import UsageError

Clock = Literal["wall", "cpu"]
Backend = Literal["ort", "ort-cuda", "tensorrt", "openvino"]

DEFAULT_BATCHES = (1, 8, 32)
ON_CPU = ("ort", "openvino")


@dataclass(frozen=True)
class BenchSettings:
    """What to measure with. Raises UsageError for a value out of range.

    ``batch_sizes`` () stands for 1, 8 and 32, or, where a model has a static batch, for that one.
    ``threads`` are those of one inference on the CPU, 0 for all cores. ``seconds`` are measured for
    each model at each batch size. The ``clock`` "cpu" counts the CPU time of one thread, which says
    much of the model on a machine that is busy with other things, too. ``layers`` times the layers
    of the first model as well, at the smallest batch size. ``input_shapes`` are the command's
    ``--input-shape``, of which the first extent gives way to the batch size.
    """

    backend: Backend = "ort"
    batch_sizes: tuple[int, ...] = ()
    threads: int = 0
    seconds: float = 3.0
    clock: Clock = "wall"
    layers: bool = False
    input_shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()

    def __post_init__(self) -> None:
        if self.backend not in get_args(Backend):
            known = ", ".join(get_args(Backend))
            raise UsageError(f"--backend '{self.backend}' is not one of {known}")
        for size in self.batch_sizes:
            if size < 1:
                raise UsageError(f"--batch-size {size}: a batch holds at least 1 image")
        if self.threads < 0:
            raise UsageError(f"--threads {self.threads}: a number of threads, or 0 for all cores")
        if self.clock not in get_args(Clock):
            raise UsageError(f"--clock '{self.clock}' is not one of {', '.join(get_args(Clock))}")
        if self.clock == "cpu" and (self.threads != 1 or self.backend not in ON_CPU):
            raise UsageError("--clock cpu counts the time of one thread: give --threads 1 with it")
        if self.threads and self.backend not in ON_CPU:
            raise UsageError(
                f"--threads is for the CPU; --backend {self.backend} computes on a GPU"
            )
        if self.layers and self.backend != "ort":
            raise UsageError(
                "--layers are timed in ONNX Runtime on the CPU, --backend ort; the layers of a"
                " device come from a bundle's result"
            )
        if not 0 < self.seconds < float("inf"):
            raise UsageError(f"--seconds {self.seconds:g} is no time to measure in")
