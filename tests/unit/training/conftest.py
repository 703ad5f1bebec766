"""What the tests of training share."""

import numpy as np
import pytest
from task_runs import RNG


@pytest.fixture
def pictures(tmp_path):
    """16 images of blocks of 2×2 pixels: class 1 where they are dark, 255 at the upper border."""
    classes = RNG.integers(0, 2, (16, 4, 4)).repeat(2, 1).repeat(2, 2).astype(np.uint8)
    x = ((1.0 - 2 * classes) + 0.05 * RNG.standard_normal(classes.shape)).astype(np.float32)
    masks = classes.copy()
    masks[:, :1] = 255
    np.savez(tmp_path / "d.npz", x=x[:, None], y=masks)
    return tmp_path / "d.npz"
