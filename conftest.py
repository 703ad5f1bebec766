"""Doctests of the part that needs PyTorch are collected where PyTorch is installed."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("torch") else ["reprune_onnx/finetune/**"]
