"""ONNX Runtime's CUDA provider: the model as it is, on an NVIDIA GPU."""

from __future__ import annotations

from pathlib import Path

from reprune_onnx.benchmark.backends.onnxruntime_cpu import OrtRunner, versions
from reprune_onnx.errors import ModelError, UsageError

__all__ = ["TOLERANCE", "load", "require", "versions"]

TOLERANCE = 5e-3  # the provider multiplies float32 in TF32, with the mantissa of float16
_PROVIDER = "CUDAExecutionProvider"


def require() -> None:
    """Refuse an ONNX Runtime that was built for the CPU alone."""
    import onnxruntime

    if _PROVIDER not in onnxruntime.get_available_providers():
        raise UsageError(
            "--backend ort-cuda needs ONNX Runtime with CUDA: pip uninstall onnxruntime, then pip"
            " install 'onnxruntime-gpu[cuda,cudnn]'"
        )
    onnxruntime.preload_dlls()


def load(path: Path, threads: int) -> OrtRunner:
    """Load a file; ModelError where ONNX Runtime silently takes the CPU instead."""
    runner = OrtRunner(path, threads, _PROVIDER, "cuda")
    if runner.session.provider != _PROVIDER:
        raise ModelError(
            f"ONNX Runtime cannot start CUDA for '{path}' and would take the CPU: install the CUDA"
            " and cuDNN that onnxruntime-gpu names (pip install 'onnxruntime-gpu[cuda,cudnn]'), and"
            " see that nvidia-smi lists a GPU"
        )
    return runner
