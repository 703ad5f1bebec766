"""TensorRT engines: what they were built for stands beside them, and they run nowhere else.

An engine belongs to one GPU and one version of TensorRT. `x.engine.json` says which; whoever loads
`x.engine` is refused where either differs, in a line instead of TensorRT's own failure.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from reprune_onnx import unreadable
from reprune_onnx.errors import EngineError
from reprune_onnx.json_text import parse_json

_NEEDED = ("tensorrt", "polygraphy")
_QUERY = ("--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader")


@dataclass(frozen=True)
class Gpu:
    """A GPU: its name, its compute capability such as 8.6, and its driver's version."""

    name: str
    sm: str
    driver: str


def require() -> None:
    """Raise EngineError, with what to install, where TensorRT or Polygraphy is missing."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise EngineError(
            f"build needs {' and '.join(missing)}: pip install 'reprune-onnx[tensorrt]' on a"
            " machine with an NVIDIA GPU"
        )


def this_gpu() -> Gpu:
    """Return the first GPU; EngineError where there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        raise EngineError("there is no nvidia-smi, so no NVIDIA GPU: engines are built on one")
    result = subprocess.run([program, *_QUERY], capture_output=True, text=True, check=False)
    fields = [part.strip() for part in result.stdout.partition("\n")[0].split(",")]
    if result.returncode or len(fields) != 3:
        said = " ".join((result.stdout + result.stderr).split())[:200]
        raise EngineError(f"nvidia-smi finds no GPU: {said or 'it says nothing'}")
    return Gpu(*fields)


def load_plugins(trt: Any) -> None:
    """Register TensorRT's own plugins, such as EfficientNMS_TRT, in this process."""
    trt.init_libnvinfer_plugins(None, "")


def about(engine: Path) -> Path:
    """``x.engine.json`` beside ``x.engine``."""
    return engine.with_name(f"{engine.name}.json")


class Engine:
    """An engine loaded on the GPU it was built for; ``facts`` are what stands beside it.

    Raises EngineError where it was built for another GPU or another version of TensorRT, or where
    its JSON file is missing or belongs to another engine.
    """

    def __init__(self, path: Path, gpu: Gpu | None = None) -> None:
        require()
        import tensorrt as trt
        from polygraphy.backend.trt import TrtRunner

        self.facts, data = built_here(path, gpu)
        if self.facts.get("note"):
            load_plugins(trt)
        runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
        engine = runtime.deserialize_cuda_engine(data)
        if engine is None:
            raise EngineError(f"TensorRT cannot load '{path}': build it again on this machine")
        self._runtime = runtime  # it has to outlive the engine
        self._runner = TrtRunner(engine)
        self._runner.activate()

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return the outputs by name; their batch is the feeds'."""
        outputs = self._runner.infer(dict(feeds))
        return {name: array.copy() for name, array in outputs.items()}

    def close(self) -> None:
        """Free the GPU's memory."""
        self._runner.deactivate()


def built_here(path: Path, gpu: Gpu | None = None) -> tuple[dict[str, Any], bytes]:
    """Return what stands beside an engine, and its bytes; EngineError where it is not for here."""
    import tensorrt as trt

    facts, data = _read(path)
    _check(path, facts, gpu or this_gpu(), str(trt.__version__))
    return facts, data


def _read(path: Path) -> tuple[dict[str, Any], bytes]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise EngineError(f"cannot read '{path}': {unreadable.reason(error)}") from error
    beside = about(path)
    try:
        facts: dict[str, Any] = parse_json(beside.read_text(encoding="utf-8"))
        expected = facts["engine"]["sha256"]
        _ = facts["gpu"]["name"], facts["gpu"]["sm"], facts["tensorrt"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EngineError(
            f"'{beside}' does not say what '{path.name}' was built for: build it again"
        ) from error
    if hashlib.sha256(data).hexdigest() != expected:
        raise EngineError(f"'{beside}' belongs to another engine than '{path}': build it again")
    return facts, data


def _check(path: Path, facts: Mapping[str, Any], gpu: Gpu, version: str) -> None:
    built = facts["gpu"]
    if (built["name"], built["sm"]) != (gpu.name, gpu.sm):
        raise EngineError(
            f"'{path}' was built for {built['name']} (sm {built['sm']}), but this is {gpu.name}"
            f" (sm {gpu.sm}): an engine is not portable, build it here"
        )
    if facts["tensorrt"] != version:
        raise EngineError(
            f"'{path}' was built by TensorRT {facts['tensorrt']}, but this is {version}: build it"
            " again"
        )
