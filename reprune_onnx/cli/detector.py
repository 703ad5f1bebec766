"""`evaluate --task detection`: a detector measured on objects, or against its original."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from reprune_onnx.cli.options import emit_json
from reprune_onnx.cli.progress import Bar
from reprune_onnx.data.class_names import class_names_for
from reprune_onnx.data.objects import images_alone, open_objects, without_broken
from reprune_onnx.data.preprocess import parse_preprocess
from reprune_onnx.data.reading import Reading
from reprune_onnx.errors import UsageError
from reprune_onnx.model import load
from reprune_onnx.report.tables import print_detection
from reprune_onnx.runtime.detection_agreement import evaluate_agreement
from reprune_onnx.runtime.evaluate_detection import (
    DetectionEvaluation,
    DetectionTask,
    evaluate_detection,
)
from reprune_onnx.types import Model
from reprune_onnx.watch import Steps


@dataclass(frozen=True)
class Where:
    """Images, how they are read, and what is true of them: ``annotations`` or another model."""

    data: Path
    annotations: Path | None
    against: Path | None
    reading: Reading


def evaluate_detector(
    model: Model, where: Where, plan: DetectionTask, json: str | None, quiet: bool
) -> None:
    """Measure a detector, and print it."""
    names = class_names_for(where.reading.classes, model.proto)
    plan = replace(plan, preprocess=parse_preprocess(where.reading.preprocess), names=names)
    measure = _measuring(model, where, plan)
    with Bar(quiet) as bar:
        seen = measure(lambda done, total: bar("detecting", done, total))
    named = {} if where.against is None else {"against": str(where.against)}
    emit_json({k: v for k, v in asdict(seen).items() if v is not None and v != ()} | named, json)
    if not quiet and json != "-":
        print_detection(asdict(seen), str(plan.preprocess), where.against is not None)


def _measuring(
    model: Model, where: Where, plan: DetectionTask
) -> Callable[[Steps], DetectionEvaluation]:
    """The way in which a detector is measured."""
    if where.against is None:
        content = open_objects(where.data, where.annotations, plan.names)
        if where.reading.skip_broken:
            content = without_broken(content)
        return lambda progress: evaluate_detection(model, content, plan, progress)
    if where.annotations is not None:
        raise UsageError(
            "--annotations are of objects, and --against needs none: leave one of them out"
        )
    images = replace(images_alone(where.data), skip_broken=where.reading.skip_broken)
    original = load(where.against)
    return lambda progress: evaluate_agreement(model, original, images.sound(), plan, progress)
