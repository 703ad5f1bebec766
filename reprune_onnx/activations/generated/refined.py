"""Generated images refined by gradient on the statistics that a file states; needs PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from reprune_onnx.activations.evidence import is_trained
from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.data.alternatives import Pixels
from reprune_onnx.errors import DataError
from reprune_onnx.note import Note
from reprune_onnx.training.needs_torch import require
from reprune_onnx.types import Model
from reprune_onnx.watch import Progress


@dataclass(frozen=True)
class Refined:
    """The distance of the images from what BatchNormalizations state, ``before`` and ``after``.

    It is the mean divergence of `training.refine`, in nats.
    """

    before: float
    after: float

    def as_json(self) -> dict[str, float]:
        """Return it as plain values, for the report."""
        return {"before": round(self.before, 4), "after": round(self.after, 4)}

    @property
    def note(self) -> Note:
        """A line for the user on the refinement."""
        return Note(
            "the generated images were refined by gradient until all BatchNormalizations are nearer"
            f" to what the file states (off by {self.after:.3f} instead of {self.before:.3f} nats)"
        )


def check_refinable(model: Model, kind: str) -> None:
    """Raise DataError for a model that tells nothing to refine by, TrainingError without PyTorch.

    ``kind`` is that of the input's element type, as of numpy.
    """
    if not _norms(Graph(model)):
        raise DataError(
            "generated:refined follows the statistics of BatchNormalizations, and the file has"
            " none; give --calibration generated"
        )
    if kind != "f":
        raise DataError(
            "generated:refined moves images by gradient, and the model's input holds whole numbers;"
            " give --calibration generated"
        )
    require("--calibration generated:refined")


def refine(
    model: Model, pixels: Pixels, progress: Progress | None = None
) -> tuple[Pixels, Refined]:
    """Return the images refined, still of 0 to 255, for a model that `check_refinable` passed."""
    from reprune_onnx.training.refine import Refiner

    graph, how = Graph(model), pixels.preprocess
    shape = [1] * pixels.x.ndim
    shape[pixels.channels] = -1
    mean, std = (np.array(v or (d,), np.float64) for v, d in ((how.mean, 0.0), (how.std, 1.0)))
    gain = (1.0 if how.scale is None else how.scale) / std
    affine = gain.reshape(shape), (-mean / std).reshape(shape)
    refiner = Refiner(graph, _norms(graph), *affine)
    x, before, after = refiner.refine(np.asarray(pixels.x, np.uint8), progress)
    return replace(pixels, x=x), Refined(before, after)


def _norms(graph: Graph) -> list[Op]:
    """The BatchNormalizations whose statistics are those of a layer on images."""
    ports = {port.name for port in graph.inputs}
    return [op for op in graph.ops if is_trained(op, graph) and op.inputs[0] not in ports]
