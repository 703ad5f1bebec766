"""Data opened for a model: fitted to its input, and judged by it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import onnx

from reprune_onnx.activations.fit_of_preprocess import better_preprocess
from reprune_onnx.arguments import wrong_type
from reprune_onnx.data.dataset import Batch, Dataset
from reprune_onnx.data.held import batches_of
from reprune_onnx.data.labels import CLASSES, LabelFormat
from reprune_onnx.data.open import open_inputs
from reprune_onnx.data.reading import Reading
from reprune_onnx.data.source import Split
from reprune_onnx.data.target import target_of
from reprune_onnx.in_memory import InMemory
from reprune_onnx.runtime.image_input import data_inputs
from reprune_onnx.runtime.tail import head_of
from reprune_onnx.taken import DataLike, as_data
from reprune_onnx.types import Model


@dataclass(frozen=True)
class Wanted:
    """The part wanted of the data ``spec``: ``split``, ``labels``, and the ``most`` images to take.

    If the data has more images, those taken are evenly spread over it.
    """

    spec: str | InMemory
    reading: Reading
    labels: LabelFormat = CLASSES
    split: Split = "test"
    most: int | None = None


def batches_for(
    proto: onnx.ModelProto, data: DataLike, labels: LabelFormat = CLASSES
) -> Dataset | Iterable[Batch]:
    """Return data to evaluate a model on: a `Dataset` of what is opened for it, or batches.

    What yields batches has them in the form that the model takes; they are read once.
    """
    if isinstance(data, Dataset):
        return data
    given = as_data("data", data)
    if given is None:
        raise wrong_type("data", data, "images, such as a path or an array")
    if isinstance(given, InMemory) and not given.complete:
        return batches_of(given, target_of(data_inputs(head_of(Model(proto)).proto, {})))
    return open_for(proto, Wanted(given, Reading(), labels), {})


def open_for(
    proto: onnx.ModelProto,
    wanted: Wanted,
    shapes: Mapping[str, tuple[int, ...]],
    original: onnx.ModelProto | None = None,
) -> Dataset:
    """Open data for the inputs of a model, see ``open_inputs``; leave out broken images if asked.

    Of a model that ends in ops which ONNX Runtime lacks, what comes before them counts.
    The notes say so where another ``--preprocess`` fits the ``original`` better, by default the
    model itself.
    """
    judge = head_of(Model(proto if original is None else original)).proto
    head = judge if original is None else head_of(Model(proto)).proto
    inputs = data_inputs(head, shapes)
    spec = wanted.spec
    data = open_inputs(
        spec.of(wanted.most) if isinstance(spec, InMemory) else spec,
        inputs,
        preprocess=wanted.reading.preprocess,
        split=wanted.split,
        reading=wanted.reading.options(proto, wanted.labels),
    )
    data = (data if wanted.most is None else data.take(wanted.most)).sound()
    return replace(data, better=better_preprocess(judge, shapes, data))
