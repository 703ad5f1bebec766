"""What `tools/hybrids.py` compares: a network in PyTorch, and prunings with parts left out."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import reprune_onnx as rp
from reprune_onnx.runtime.ort import Session

torch = pytest.importorskip("torch", reason="the network is exported by PyTorch")

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

import hybrids

from models.export import Recipe, export


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hybrid") / "hybrid.onnx"
    rp.save(rp.Model(export("hybrid_cifar", Recipe(fresh=True))), path)
    return path


def images(n: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, 3, 32, 32)).astype(np.float32)


def test_the_peer_gets_the_same_network(file: Path) -> None:
    proto = rp.load(file).proto
    (name,) = (i.name for i in proto.graph.input)
    (expected,) = Session(proto, optimize=True).run({name: images(4)}).values()
    made = hybrids.in_pytorch(file)(torch.from_numpy(images(4))).detach().numpy()
    np.testing.assert_allclose(made, expected, rtol=1e-3, atol=1e-5)


def test_what_is_left_out_is(file: Path) -> None:
    """Half of all heads go, or half of every head; channels that are chosen lose more."""
    options = {
        **{"sparsity": 0.5, "allocation": "uniform", "include": ("*qkv*",), "method": "l1"},
        **{"calibration": images(64), "preprocess": "none"},
    }
    original, x = rp.load(file), images(16)
    (name,) = (i.name for i in original.proto.graph.input)
    (expected,) = Session(original.proto, optimize=True).run({name: x}).values()
    error = {}
    for title, parts in {
        "whole heads": {"chosen": True, "whole": True},
        "chosen": {"chosen": True},
        "combined": {},
    }.items():
        model = hybrids.pruned(file, hybrids.Way(title, options, **parts), 0.0)
        assert sum(tuple(t.dims) == (96, 144) for t in model.proto.graph.initializer) == 2
        (y,) = Session(model.proto, optimize=True).run({name: x}).values()
        error[title] = float(((y - expected) ** 2).mean())
    assert error["combined"] < 0.8 * min(error["chosen"], error["whole heads"])
