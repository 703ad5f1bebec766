"""Where rows of refusals find their files, and what they call."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import text_graphs
from onnx import numpy_helper

import reprune_onnx as rp

HEAD = '<ir_version: 8, opset_import: ["": 17]> g (float[1,3,8,8] x) => (float[a,b,c,d] y) '
NUMBER = count()


@dataclass
class Place:
    """``tmp`` is a folder of the row's own; ``command`` runs the command line and raises."""

    tmp: Path
    demo: Path
    digits: Path
    command: Callable[..., Any]
    files: dict[str, Path] = field(default_factory=dict)

    def __call__(self, *args: object) -> Any:
        return self.command(args=[str(a) for a in args], standalone_mode=False)

    @cached_property
    def model(self) -> rp.Model:
        return rp.load(self.demo)

    @cached_property
    def dense(self) -> Path:
        """A file whose input has no axes of space."""
        body, head = (
            "h = MatMul (x, a) r = Relu (h) y = MatMul (r, b)",
            HEAD.replace("float[1,3,8,8]", "float[n,40]").replace("float[a,b,c,d]", "float[n,4]"),
        )
        return self.graph(body, head, a=np.ones((40, 8)), b=np.ones((8, 4)))

    def named(self, name: str) -> str:
        """The name of a folder in the current one."""
        Path(name).mkdir()
        return name

    def npz(self, **arrays: Any) -> Path:
        path = self.tmp / f"data{next(NUMBER)}.npz"
        np.savez(path, **arrays)
        return path

    def text(self, content: str, suffix: str = ".json") -> Path:
        path = self.tmp / f"text{next(NUMBER)}{suffix}"
        path.write_text(content, encoding="utf-8")
        return path

    def graph(self, body: str, head: str = HEAD, **weights: Any) -> Path:
        """A model file; the weights w (8, 3, 3, 3) and v (6, 8, 3, 3) are there."""
        rng = np.random.default_rng(0)
        drawn = {"w": rng.standard_normal((8, 3, 3, 3)), "v": rng.standard_normal((6, 8, 3, 3))}
        used = {name: array for name, array in drawn.items() if re.search(rf"\b{name}\b", body)}
        proto = text_graphs.model(head + "{ " + body + " }", **{**used, **weights})
        return self.save(proto)

    def save(self, proto: onnx.ModelProto) -> Path:
        path = self.tmp / f"model{next(NUMBER)}.onnx"
        path.write_bytes(proto.SerializeToString())
        return path

    def altered(self, change: Callable[[onnx.ModelProto], object]) -> Path:
        """The demo model with one thing changed."""
        proto = onnx.load(self.demo)
        change(proto)
        return self.save(proto)

    def reshaped(self, array: np.ndarray, name: str) -> onnx.TensorProto:
        return numpy_helper.from_array(array, name)

    def evaluate(self, data: object, *more: object) -> Any:
        return self("evaluate", self.demo, "--data", data, *more)

    def prune(self, *options: object, model: Path | None = None) -> Any:
        return self("prune", model or self.demo, "--dry-run", *options)

    def images(self, n: int = 4, size: tuple[int, ...] = (1, 8, 8)) -> np.ndarray:
        return np.random.default_rng(0).integers(0, 17, (n, *size)).astype(np.uint8)
