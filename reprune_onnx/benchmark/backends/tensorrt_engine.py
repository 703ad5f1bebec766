"""TensorRT 10 and 11: an engine that was built for this GPU."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.benchmark.backends import Arrays
from reprune_onnx.errors import ModelError, UsageError
from reprune_onnx.runtime.ort import Port
from reprune_onnx.runtime.tensorrt import built_here

TOLERANCE = None  # the model that the engine was built from is not here; `build` compared the two


class EngineRunner:
    """An engine with its inputs and outputs in the GPU's memory: only computing is timed."""

    def __init__(self, path: Path) -> None:
        import tensorrt as trt
        from polygraphy import cuda

        self._path = path
        _, data = built_here(path)
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))  # it has to outlive the engine
        self._engine = self._runtime.deserialize_cuda_engine(data)
        if self._engine is None:
            raise ModelError(
                f"TensorRT {trt.__version__} cannot read '{path}': build it again with reprune-onnx"
                " build"
            )
        self._context = self._engine.create_execution_context()
        self._stream = cuda.Stream()
        self._memory: dict[str, Any] = {}
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        mode = self._engine.get_tensor_mode
        self.inputs = tuple(self._port(n) for n in names if mode(n) == trt.TensorIOMode.INPUT)
        self._outputs = [n for n in names if mode(n) == trt.TensorIOMode.OUTPUT]

    def _port(self, name: str) -> Port:
        shape = tuple(n if n > 0 else None for n in self._engine.get_tensor_shape(name))
        return Port(name, shape, self._dtype(name))

    def _dtype(self, name: str) -> np.dtype[Any]:
        import tensorrt as trt

        kind = self._engine.get_tensor_dtype(name)
        try:
            dtype: np.dtype[Any] = np.dtype(trt.nptype(kind))
        except TypeError as error:
            raise ModelError(
                f"'{name}' of '{self._path}' is of type {kind}, which numpy does not have; build"
                " the engine with inputs and outputs in float32"
            ) from error
        return dtype

    def prepare(self, feeds: Arrays) -> None:
        """Copy the inputs to the GPU, and make room for the outputs."""
        for name, array in feeds.items():
            if not self._context.set_input_shape(name, array.shape):
                least, _, most = self._engine.get_tensor_profile_shape(name, 0)
                raise ModelError(
                    f"'{self._path}' was built for {tuple(least)} to {tuple(most)} at input"
                    f" '{name}', not for {array.shape}; build it for that batch size"
                )
            self._hold(name, array.shape, array.dtype).copy_from(array)
        for name in self._outputs:
            shape = tuple(self._context.get_tensor_shape(name))
            if min(shape, default=1) < 0:
                raise ModelError(
                    f"the size of output '{name}' of '{self._path}' depends on the image; such"
                    " engines are not measured: build one without the post-processing"
                )
            self._hold(name, shape, self._dtype(name))

    def _hold(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        from polygraphy import cuda
        from polygraphy.exception import PolygraphyException

        if name in self._memory:
            self._memory.pop(name).free()
        try:
            self._memory[name] = cuda.DeviceArray(shape, dtype)
        except PolygraphyException as error:
            raise ModelError(
                f"no memory on the GPU for '{name}' {shape} of '{self._path}': {error}"
            ) from error
        self._context.set_tensor_address(name, self._memory[name].ptr)
        return self._memory[name]

    def run(self) -> None:
        """Compute what the inputs hold."""
        if not self._context.execute_async_v3(self._stream.ptr):
            raise ModelError(f"TensorRT cannot run '{self._path}': its log above says why")
        self._stream.synchronize()

    def outputs(self) -> dict[str, NDArray[Any]]:
        """The outputs of the last run."""
        return {name: self._memory[name].numpy() for name in self._outputs}


def require() -> None:
    """Refuse where TensorRT or what reaches the GPU's memory is not installed."""
    missing = [name for name in ("tensorrt", "polygraphy") if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"--backend tensorrt needs {' and '.join(missing)}: pip install"
            " 'reprune-onnx[tensorrt]'"
        )


def versions() -> dict[str, str]:
    """TensorRT's."""
    import tensorrt

    return {"tensorrt": tensorrt.__version__}


def load(path: Path, threads: int) -> EngineRunner:
    """Read an engine; UsageError for an ONNX file, which has to be built first."""
    del threads
    if path.suffix == ".onnx":
        raise UsageError(
            f"'{path}' is an ONNX file, and TensorRT runs engines: reprune-onnx build '{path}'"
            " --target NAME makes one"
        )
    return EngineRunner(path)
