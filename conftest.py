"""What all tests share: which are collected, and how many threads each process takes."""

import os
from importlib.util import find_spec

import pytest

_HERE = find_spec("torch") and find_spec("lightning_fabric")
collect_ignore_glob = [] if _HERE else ["reprune_onnx/training/**"]


def pytest_configure(config: pytest.Config) -> None:
    """Processes that test side by side share the cores; the threads of each wait in a busy loop.

    What a test starts inherits it, unless that is what the test is about.
    """
    if config.getoption("numprocesses", None):
        os.environ.setdefault("OMP_NUM_THREADS", "1")
