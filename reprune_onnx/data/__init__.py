"""Calibration, evaluation and training data: ``.npz``, image folders and tars, a Python loader."""

from reprune_onnx.data.dataset import Batch, Dataset
from reprune_onnx.data.open import open_data
from reprune_onnx.data.preprocess import Preprocess, parse_preprocess
from reprune_onnx.data.source import Split

__all__ = ["Batch", "Dataset", "Preprocess", "Split", "open_data", "parse_preprocess"]
