"""The bridge between an ONNX graph and PyTorch: there, and back into the same file.

>>> import reprune_onnx as rp
>>> model = rp.load("models/digits_resnet.onnx")
>>> module = torch_module(model)
>>> write_back(model, module).proto == model.proto
True
"""

from reprune_onnx.training.bridge.build import torch_module
from reprune_onnx.training.bridge.module import OnnxModule
from reprune_onnx.training.bridge.scope import has_branches
from reprune_onnx.training.bridge.write import write_back

__all__ = ["OnnxModule", "has_branches", "torch_module", "write_back"]
