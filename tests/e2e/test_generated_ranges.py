"""The range of values that is found for real models, beside the one that they were trained with."""

import sys
from pathlib import Path

import numpy as np
import pytest

import reprune_onnx as rp
from reprune_onnx.activations.generated.make import make

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from generated_ranges import MODELS, Documented, affine, of_bytes


@pytest.mark.parametrize("documented", MODELS, ids=lambda documented: documented.model)
def test_values_have_the_size_that_a_model_was_trained_with(
    documented: Documented, shared: Path
) -> None:
    """Within 2.5 times, from black to white: ±1 and ImageNet's count as near to each other."""
    model = rp.load(shared / "models" / f"{documented.model}.onnx")
    settings = rp.Settings(sparsity=0.5, calibration="generated:16", input_shapes=documented.shapes)
    chosen_range = make(model, settings).generated.range
    values, truth = (
        np.array(affine(how)).mean(axis=1)
        for how in (chosen_range.preprocess, of_bytes(documented.truth))
    )
    assert chosen_range.sure
    assert 0.4 < np.diff(values) / np.diff(truth) < 2.5
    assert abs(values.mean() - truth.mean()) < np.abs(np.diff(truth))
