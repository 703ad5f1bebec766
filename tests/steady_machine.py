"""A stand-in for this machine, on which time passes as a test says and not as others allow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from types import SimpleNamespace

import onnx

from reprune_onnx.latency import measure, models
from reprune_onnx.runtime.ort import Session

RUN = 1e-5  # seconds that every run takes, whatever it computes


def multiply_adds(proto: onnx.ModelProto) -> int:
    """Those of a model's convolutions and matrix products, for one image."""
    graph = onnx.shape_inference.infer_shapes(proto).graph
    sizes = {t.name: prod(t.dims) for t in graph.initializer}
    shapes = {v.name: v.type.tensor_type.shape.dim for v in (*graph.value_info, *graph.output)}
    return sum(
        sizes[node.input[1]] * prod(d.dim_value for d in shapes[node.output[0]][2:])
        for node in graph.node
        if node.op_type in ("Conv", "Gemm")
    )


def of_work(proto: onnx.ModelProto) -> float:
    """Seconds in which nothing but multiply-adds counts."""
    return 1e-8 * multiply_adds(proto)


class SteadyMachine:
    """Runs of a whole model, and of one layer, take the ``seconds(proto)`` given here.

    Nothing is computed while they are timed.
    """

    def __init__(
        self,
        monkeypatch,
        of_model: Callable[[onnx.ModelProto], float],
        of_layer: Callable[[onnx.ModelProto], float],
    ) -> None:
        self.now = 0.0
        monkeypatch.setattr(models, "_TURNS", replace(models._TURNS, clock=lambda: self.now))
        monkeypatch.setattr(measure, "time", SimpleNamespace(perf_counter=lambda: self.now))
        monkeypatch.setattr(models, "Session", self._session(of_model))
        monkeypatch.setattr(measure, "Session", self._session(of_layer))

    def _session(self, seconds: Callable[[onnx.ModelProto], float]) -> type[Session]:
        machine = self

        class Steady(Session):
            def __init__(self, model, **options):
                super().__init__(model, **options)
                self.takes = RUN + seconds(model)

            def bind(self, feeds, device="cpu"):
                return SimpleNamespace(run=self.pass_time)

            def pass_time(self):
                machine.now += self.takes

        return Steady
