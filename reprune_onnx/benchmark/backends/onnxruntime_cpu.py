"""ONNX Runtime on the CPU, and what its CUDA provider shares with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from reprune_onnx.benchmark.backends import Arrays
from reprune_onnx.runtime.ort import CPU, Bound, Port, Session

TOLERANCE = 1e-4


class OrtRunner:
    """A file in ONNX Runtime, its inputs and outputs on ``device``: only computing is timed."""

    def __init__(self, path: Path, threads: int, provider: str = CPU, device: str = "cpu") -> None:
        self.session = Session(
            path, optimize=True, threads=threads, provider=provider, use="in turns"
        )
        self._device = device
        self._bound: Bound | None = None

    @property
    def inputs(self) -> tuple[Port, ...]:
        """The session's inputs."""
        return self.session.inputs

    def prepare(self, feeds: Arrays) -> None:
        """Bind the inputs."""
        self._bound = self.session.bind(feeds, self._device)

    def run(self) -> None:
        """Compute what is bound."""
        assert self._bound is not None
        self._bound.run()

    def outputs(self) -> dict[str, NDArray[Any]]:
        """The outputs of the last run."""
        assert self._bound is not None
        return self._bound.outputs()


def require() -> None:
    """ONNX Runtime is a requirement of the package itself."""


def versions() -> dict[str, str]:
    """ONNX Runtime's."""
    import onnxruntime

    return {"onnxruntime": onnxruntime.__version__}


def load(path: Path, threads: int) -> OrtRunner:
    """Load a file with every optimisation."""
    return OrtRunner(path, threads)
