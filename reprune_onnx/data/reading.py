"""The options of a command on how its DATA is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx

from reprune_onnx.data.class_names import class_names_for
from reprune_onnx.data.images import ReadingOptions
from reprune_onnx.data.labels import CLASSES, LabelFormat


@dataclass(frozen=True)
class Reading:
    """``--preprocess``, ``--classes`` and ``--skip-broken``; see ``parse_preprocess``."""

    preprocess: str | None = None
    classes: Path | None = None
    skip_broken: bool = False

    def options(self, proto: onnx.ModelProto, labels: LabelFormat = CLASSES) -> ReadingOptions:
        """Return how data are read for a model, whose metadata may name its classes."""
        return ReadingOptions(class_names_for(self.classes, proto), self.skip_broken, labels)
