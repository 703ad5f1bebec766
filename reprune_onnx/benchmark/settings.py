"""Every option of `bench`, declared and checked once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

from reprune_onnx.errors import UsageError
from reprune_onnx.options import Option, Takes, check_fields
from reprune_onnx.taken import INPUT_SHAPE, ShapesLike, as_shapes, as_whole_numbers

Clock = Literal["wall", "cpu"]
Backend = Literal["ort", "ort-cuda", "tensorrt", "openvino"]

DEFAULT_BATCHES = (1, 8, 32)
ON_CPU = ("ort", "openvino")


def _sizes(text: str | None) -> tuple[int, ...]:
    try:
        return () if text is None else tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--batch-size '{text}' is not numbers, as in 1,8,32") from error


@dataclass(frozen=True)
class BenchSettings:
    """The options of `bench`; each field is one of the command line.

    ``batch_sizes`` () stands for 1, 8 and 32, or, where a model has a static batch, for that one.
    The clock "cpu" counts the CPU time of one thread, which says much of the model on a machine
    that is busy with other things, too. Of ``input_shapes`` the first extent gives way to the batch
    size. Raises UsageError for a value out of range, and ArgumentError for one of a wrong type.
    """

    backend: Annotated[
        Backend,
        Option(
            "Runtime: ONNX Runtime on the CPU (ort) or with CUDA (ort-cuda), TensorRT, OpenVINO."
        ),
    ] = "ort"
    batch_sizes: Annotated[
        Takes[Iterable[int], tuple[int, ...]],
        Option(
            "Batch sizes to measure; default: 1,8,32, or the fixed batch of a model.",
            "N,N,…",
            ("--batch-size",),
            words=str | None,
            read=_sizes,
        ),
    ] = Takes(as_whole_numbers, ())
    threads: Annotated[int, Option("CPU threads of one run; 0 is one per core.", "N")] = 0
    seconds: Annotated[
        float, Option("Seconds to measure each model for, at each batch size.", "S")
    ] = 3.0
    clock: Annotated[
        Clock,
        Option("Time that counts: wall, or the CPU time of --threads 1, for a busy machine."),
    ] = "wall"
    layers: Annotated[
        bool,
        Option(
            "Time the layers of the first model too, at the smallest batch size, for prune"
            " --latency-table; needs --json.",
            names=("--layers",),
        ),
    ] = False
    input_shapes: Annotated[
        Takes[ShapesLike, tuple[tuple[str, tuple[int, ...]], ...]], INPUT_SHAPE
    ] = Takes(as_shapes, ())

    def __post_init__(self) -> None:
        check_fields(self)
        for size in self.batch_sizes:
            if size < 1:
                raise UsageError(f"--batch-size {size}: a batch holds at least 1 image")
        if self.threads < 0:
            raise UsageError(f"--threads {self.threads}: a number of threads, or 0 for all cores")
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
            raise UsageError(
                f"--seconds {self.seconds:g} is no time to measure in: give some seconds"
            )
