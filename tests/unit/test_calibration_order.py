"""Pruning sees sorted calibration data in a mixed order."""

from typing import Any

import numpy as np
import pytest

import reprune_onnx as rp
from reprune_onnx.activations.images import Images
from reprune_onnx.pruner import knowledge


def test_pruning_and_recovering_shuffle_the_images(
    demo: Any, digits: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with np.load(digits) as data:
        order = np.argsort(data["y_train" if "y_train" in data else "y"], kind="stable")
        name = "x_train" if "x_train" in data else "x"
        np.savez(tmp_path / "sorted.npz", x=data[name][order][:300])
    seen: list[Images] = []
    measure_losses = knowledge.measure_losses

    def watched(*args: Any) -> Any:
        seen.append(args[3])
        return measure_losses(*args)

    monkeypatch.setattr(knowledge, "measure_losses", watched)
    calibration = {"calibration": str(tmp_path / "sorted.npz"), "preprocess": "scale=1/16"}
    rp.prune(rp.load(demo), rp.Settings(macs_reduction=0.3, **calibration))
    with np.load(tmp_path / "sorted.npz") as data:
        first = data["x"][: len(next(iter(seen[0].batches[0].values())))] / 16
    assert not np.allclose(next(iter(seen[0].batches[0].values())).ravel(), first.ravel())
