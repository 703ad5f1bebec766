"""OpenVINO on the CPU."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.benchmark.backends import Arrays
from reprune_onnx.errors import ModelError, UsageError
from reprune_onnx.runtime.ort import Port

TOLERANCE = 1e-4


class OpenVinoRunner:
    """A file compiled for the extents of its inputs, in float32 where it is float32."""

    def __init__(self, path: Path, threads: int) -> None:
        import openvino

        self._core = openvino.Core()
        self._path = path
        self._options: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",  # one inference at a time, on all threads
            "INFERENCE_PRECISION_HINT": "f32",  # it would compute float32 in bfloat16 where it can
            **({"INFERENCE_NUM_THREADS": threads} if threads else {}),
        }
        self._model = self._told("load", lambda: self._core.read_model(str(path)))
        self.inputs = tuple(_port(value) for value in self._model.inputs)
        self._outputs = [value.get_any_name() for value in self._model.outputs]  # as in the file
        self._request: Any = None

    def prepare(self, feeds: Arrays) -> None:
        """Compile the model for these extents, and set its inputs."""
        self._told("run", lambda: self._compile(feeds))

    def run(self) -> None:
        """Compute the inputs that are set."""
        self._told("run", self._request.infer)

    def outputs(self) -> dict[str, NDArray[Any]]:
        """The outputs of the last run."""
        tensors = map(self._request.get_tensor, self._request.model_outputs)
        return {n: np.array(t.data) for n, t in zip(self._outputs, tensors, strict=True)}

    def _compile(self, feeds: Arrays) -> None:
        import openvino

        self._model.reshape({name: list(array.shape) for name, array in feeds.items()})
        compiled = self._core.compile_model(self._model, "CPU", self._options)
        self._request = compiled.create_infer_request()
        for name, array in feeds.items():
            self._request.set_tensor(name, openvino.Tensor(array))

    def _told(self, verb: str, action: Any) -> Any:
        try:
            return action()
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise ModelError(f"OpenVINO cannot {verb} '{self._path}': {reason}") from error


def _port(value: Any) -> Port:
    partial = value.get_partial_shape()
    shape = tuple(None if d.is_dynamic else d.get_length() for d in partial)
    return Port(value.get_any_name(), shape, np.dtype(value.get_element_type().to_dtype()))


def require() -> None:
    """Refuse where OpenVINO is not installed."""
    if find_spec("openvino") is None:
        raise UsageError("--backend openvino needs OpenVINO: pip install 'reprune-onnx[openvino]'")


def versions() -> dict[str, str]:
    """OpenVINO's."""
    import openvino

    return {"openvino": openvino.__version__}


def load(path: Path, threads: int) -> OpenVinoRunner:
    """Read a file."""
    return OpenVinoRunner(path, threads)
