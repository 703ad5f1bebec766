"""The calibration images, as a model's inputs, batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx

from reprune_onnx.activations.classes_seen import classes_unseen
from reprune_onnx.activations.generated.make import Generated, make
from reprune_onnx.activations.opened import Wanted, open_for
from reprune_onnx.activations.room import Room, parse_size
from reprune_onnx.activations.stretch import Arrays
from reprune_onnx.data.generated.spec import is_generated
from reprune_onnx.data.labels import IF_CLASSES
from reprune_onnx.data.source import each_of, rows
from reprune_onnx.errors import DataError
from reprune_onnx.memory import give_back
from reprune_onnx.note import Note
from reprune_onnx.precision import as_float32
from reprune_onnx.runtime.image_input import data_inputs, image_input
from reprune_onnx.settings import Settings
from reprune_onnx.types import Ints, Model
from reprune_onnx.watch import Progress

_BATCH = 16  # images at a time where the model leaves it open
_BYTES = 2 << 20  # and the most bytes of them: activations are some tens of times as large
_LEAST = 8  # images; half of them test what is fitted to the others
HELD_OUT = 3
"""Of so many images at least one is held out by `Images.split`: of 3k, k or more."""


@dataclass(frozen=True)
class Images:
    """``n`` images of the data called ``name``, as inputs ``{name: array}`` of every batch.

    ``labels`` are those of every batch, (b,) each, where the data has them. ``notes`` say what the
    data is and what is done to it, in lines for the user. ``room`` is where the activations that
    the images cause are held. ``generated`` says how images were made that nobody took, ``better``
    is the note, one of ``notes``, that names a ``--preprocess`` which fits the model better.
    """

    name: str
    batches: tuple[Arrays, ...]
    n: int
    labels: tuple[Ints, ...] | None = None
    notes: tuple[Note, ...] = ()
    room: Room = field(default_factory=Room)
    generated: Generated | None = None
    better: Note | None = None

    def shuffled(self, rng: np.random.Generator) -> Images:
        """Return the same images in an order drawn by ``rng``, in batches of the same sizes.

        Early layers look at the first batches alone, which of sorted data would be one class.
        """
        every = [(b, i) for b, batch in enumerate(self.batches) for i in range(rows(batch))]
        order = iter([every[k] for k in rng.permutation(len(every))])
        places = [[next(order) for _ in range(rows(batch))] for batch in self.batches]
        batches = tuple(
            {key: np.stack([self.batches[b][key][i] for b, i in place]) for key in batch}
            for place, batch in zip(places, self.batches, strict=True)
        )
        labels = self.labels and tuple(
            np.array([self.labels[b][i] for b, i in place]) for place in places
        )
        return replace(self, batches=batches, labels=labels)

    def split(self) -> tuple[Images, Images]:
        """Return images to fit to and, every third batch from the first on, others to measure on.

        The last batch may be a small one: what is held out is never less than a third.
        """
        held = [k for k in range(len(self.batches)) if k % HELD_OUT == 0]
        fit = [k for k in range(len(self.batches)) if k % HELD_OUT]
        return self._only(fit), self._only(held)

    def joined(self, held_out: Images) -> Images:
        """Return these images and those that `split` has held out, in the order they had."""
        places = [k for k in range(len(self.batches) + len(held_out.batches)) if k % HELD_OUT]
        parts = iter(self.batches), iter(held_out.batches)
        count = len(self.batches) + len(held_out.batches)
        batches = tuple(next(parts[0] if k in places else parts[1]) for k in range(count))
        return replace(self, batches=batches, n=self.n + held_out.n, labels=None)

    def _only(self, which: list[int]) -> Images:
        batches = tuple(self.batches[k] for k in which)
        labels = None if self.labels is None else tuple(self.labels[k] for k in which)
        return replace(self, batches=batches, n=sum(map(rows, batches)), labels=labels)

    def check(self) -> None:
        """Raise DataError where a layer could not be fitted to these images."""
        if self.n < _LEAST or len(self.batches) < 2:
            raise DataError(
                f"{self.n} images of {self.name}: at least {_LEAST} (and two batches) are needed"
                " to fit layers and to test the fit, some hundreds are better"
            )
        first = {key: array[:1] for key, array in self.batches[0].items()}
        if all((b[key] == row).all() for b in self.batches for key, row in first.items()):
            raise DataError(
                f"{self.name}: all images are equal, so nothing can be fitted to them; give"
                " images like those that the model will see"
            )


def calibration_images(
    proto: onnx.ModelProto, settings: Settings, progress: Progress | None = None
) -> Images:
    """Return up to ``settings.calibration_size`` images of ``settings.calibration``.

    Other samples count as images: what a model takes is asked of its inputs, see ``open_inputs``.
    Incomplete last batches of a model with a static batch are left out.
    Raises DataError where the data cannot be read, does not fit, or has NaN or infinite values.
    """
    spec = "" if settings.calibration is None else settings.calibration
    proto = as_float32(proto)
    if is_generated(spec):
        return _generated(proto, settings, progress)
    shapes = dict(settings.input_shapes)
    inputs = data_inputs(proto, shapes)
    most = settings.calibration_size
    data = open_for(
        proto, Wanted(spec, settings.reading, IF_CLASSES, split="train", most=most), shapes
    )
    static = next((i.shape[0] for i in inputs if i.shape and i.shape[0]), None)
    one = sum(array.nbytes for array in each_of(next(data.batches(1))[0]))
    size = static or _batch(data.size or settings.calibration_size, one)
    pairs = [(x, y) for x, y in data.batches(size) if not static or rows(x) == static]
    feeds = [x if isinstance(x, dict) else {inputs[0].name: x} for x, _ in pairs]
    images = _filled(data.name, feeds, static)
    labels = tuple(y for _, y in pairs if y is not None)
    one_per_image = labels if len(labels) == len(pairs) else None
    return replace(images, labels=one_per_image, notes=data.notes, better=data.better)


def images_to_fit(
    proto: onnx.ModelProto, settings: Settings, progress: Progress | None = None
) -> Images:
    """Return the `calibration_images` in an order that is always the same and is not the data's."""
    limit = None if settings.memory is None else parse_size(settings.memory)
    images = replace(calibration_images(proto, settings, progress), room=Room(limit))
    shuffled = images.shuffled(np.random.default_rng(0))
    del images
    give_back()
    if shuffled.generated is not None:
        return shuffled
    few = classes_unseen(Model(proto), shuffled.batches, shuffled.labels is not None)
    return shuffled if few is None else replace(shuffled, notes=(*shuffled.notes, few))


def _generated(proto: onnx.ModelProto, settings: Settings, progress: Progress | None) -> Images:
    made = make(Model(proto), settings, progress)
    port, n = image_input(proto, dict(settings.input_shapes)), made.generated.n
    static = port.shape[0]
    size = static or _batch(n, made.fed(0, 1).nbytes)
    last = n - n % size if static else n
    batches = [{port.name: made.fed(k, min(k + size, last))} for k in range(0, last, size)]
    images = _filled("the generated images", batches, static)
    generated = replace(made.generated, n=last)
    return replace(images, notes=generated.notes, generated=generated)


def _filled(name: str, batches: Sequence[Arrays], static: int | None) -> Images:
    if not batches:
        raise DataError(f"{name} has fewer images than the model's batch of {static or 1}")
    return Images(name, tuple(batches), sum(map(rows, batches)))


def _batch(n: int, image: int) -> int:
    """Images at a time, of ``n`` images of so many bytes."""
    return max(1, min(_BATCH, _BYTES // image, n // _LEAST))
