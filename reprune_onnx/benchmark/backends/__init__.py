"""The table of backends that run models, each imported only when it is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from reprune_onnx.benchmark.settings import Backend
from reprune_onnx.runtime.ort import Port

Arrays = Mapping[str, NDArray[Any]]


class Runner(Protocol):
    """A model that a backend has loaded. Methods raise ModelError where the backend fails."""

    @property
    def inputs(self) -> tuple[Port, ...]:
        """The inputs, None for the extents that are free."""

    def prepare(self, feeds: Arrays) -> None:
        """Put the inputs where the model is computed."""

    def run(self) -> None:
        """Compute them once; it is done when this returns."""

    def outputs(self) -> dict[str, NDArray[Any]]:
        """The tensors among the outputs of the last run."""


class Loader(Protocol):
    """A module of this package."""

    require: Callable[[], None]
    """Raise UsageError, which names what to install, where the backend is not here."""
    versions: Callable[[], dict[str, str]]
    load: Callable[[Path, int], Runner]
    """A runner for a file, on so many threads."""
    TOLERANCE: float | None
    """The allowed error of float32 results against a plain run on the CPU, of the output's scale.

    None where there is nothing to compare with."""


_MODULES: dict[Backend, str] = {
    "ort": "onnxruntime_cpu",
    "ort-cuda": "onnxruntime_cuda",
    "tensorrt": "tensorrt_engine",
    "openvino": "openvino_cpu",
}


def loader(backend: Backend) -> Loader:
    """Return the backend's module, once everything it needs is there."""
    module: Any = import_module(f"{__name__}.{_MODULES[backend]}")
    loader_of_backend: Loader = module
    loader_of_backend.require()
    return loader_of_backend
