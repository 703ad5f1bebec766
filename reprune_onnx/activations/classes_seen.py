"""Notice calibration images that show a classifier of few classes only some of them.

Layers are fitted to what the images show: from photographs of good parts alone, a detector of flaws
forgets the flaws, and the error on such images says nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from reprune_onnx.activations.stretch import Arrays
from reprune_onnx.errors import RepruneError
from reprune_onnx.note import Note
from reprune_onnx.runtime.classifier import Classifier
from reprune_onnx.types import Model

_CLASSES = 16  # at most: of many classes a few always lack, and they share what they look at
_EACH = 8  # images for each class, of which one should show it
_MOST = 128  # images that are looked at


def classes_unseen(model: Model, batches: Sequence[Arrays], labelled: bool) -> Note | None:
    """Return a line on the classes that a model answers to none of the images; None without any.

    A classifier is what ends in a Softmax, or whose images are ``labelled``.
    """
    stated = [o.type.tensor_type.shape.dim for o in model.proto.graph.output]
    if not any(len(dims) > 1 and 2 <= dims[1].dim_value <= _CLASSES for dims in stated):
        return None
    answers, n, classes = set[int](), 0, 0
    try:
        classifier = Classifier(model, "the model", 0)
        for batch in batches:
            scores = classifier.scores(batch, n)
            answers |= set(scores.argmax(axis=1).tolist())
            n, classes = n + len(scores), scores.shape[1]
            if n >= _MOST:
                break
    except RepruneError:  # no classifier, or values that it makes NaN of: others say so
        return None
    few = classes <= _CLASSES and n >= _EACH * classes
    unseen = sorted(set(range(classes)) - answers)
    if not few or not unseen or not (labelled or classifier.normalized):
        return None
    return Note(
        f"on {n} of the images the model gives {len(answers)} of its {classes} answers, never"
        f" {' or '.join(map(str, unseen))}: what it knows of these may be lost; give images of all"
    )
