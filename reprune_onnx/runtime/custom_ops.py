"""Libraries of custom operators, which every session of a command loads.

They stand in the environment, so the processes that a command starts load them too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reprune_onnx.errors import ModelError

VARIABLE = "REPRUNE_ONNX_CUSTOM_OPS"
"""The environment variable that holds the libraries' paths, joined as those of ``PATH`` are."""


@contextmanager
def custom_ops(libraries: Sequence[str | Path]) -> Iterator[None]:
    """Let every session made within load ``libraries``, beside those that are loaded already.

    Raises ModelError for a file that is missing, or that is no library of operators.
    """
    paths = [str(Path(path).expanduser().resolve()) for path in libraries]
    for path in paths:
        _check(path)
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = os.pathsep.join([*loaded(), *paths])
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def loaded() -> list[str]:
    """The paths of the libraries that sessions load."""
    return [path for path in os.environ.get(VARIABLE, "").split(os.pathsep) if path]


def register(options: Any) -> None:
    """Load the libraries for the session that ONNX Runtime's ``options`` are for."""
    for path in loaded():
        try:
            options.register_custom_ops_library(path)
        except Exception as error:  # its exceptions share no base class
            text = " ".join(str(error).split()).rpartition(" : ")[2]
            raise ModelError(
                f"cannot load the custom operators of '{path}': {text}; give a library that was"
                f" built for ONNX Runtime's RegisterCustomOps"
            ) from error


def _check(path: str) -> None:
    if not Path(path).is_file():
        raise ModelError(f"--custom-ops '{path}' is no file: give a library of custom operators")
    if os.pathsep in path:
        raise ModelError(f"--custom-ops '{path}' has a '{os.pathsep}' in its path: move the file")
