"""Doctests of the part that needs PyTorch are collected where PyTorch is installed."""

from importlib.util import find_spec

_HERE = find_spec("torch") and find_spec("lightning_fabric")
collect_ignore_glob = [] if _HERE else ["reprune_onnx/training/**"]
