"""The extra that training needs, asked for before anything of it is imported."""

from __future__ import annotations

from importlib.util import find_spec

from reprune_onnx.errors import TrainingError

_NEEDED = ("torch", "lightning_fabric")


def require(command: str) -> None:
    """Raise TrainingError, with what to install, where PyTorch or Lightning Fabric is missing."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise TrainingError(
            f"{command} needs {' and '.join(missing)}: pip install 'reprune-onnx[torch]'"
        )
