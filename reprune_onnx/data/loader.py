"""``package.module:function``: a Python callable that yields batches ``x`` or ``(x, y)``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from reprune_onnx import near
from reprune_onnx.data.labels import CLASSES, LabelFormat
from reprune_onnx.data.source import Answers, Feed, RawBatch, each_of, of_each, rows
from reprune_onnx.errors import DataError
from reprune_onnx.note import Note
from reprune_onnx.types import Ints


@dataclass(frozen=True)
class LoaderSource:
    """The batches of ``function()``, called anew for every pass, cut to the sizes asked for.

    ``limit`` is the number of images after which a pass stops.
    """

    name: str
    function: Callable[[], Any]
    limit: int | None = None
    read: LabelFormat = CLASSES
    unused: None = None
    classes: None = None
    notes: tuple[Note, ...] = ()

    @property
    def size(self) -> None:
        """Unknown before a pass."""
        return

    @property
    def labels(self) -> None:
        """Unknown before a pass; the batches have them."""
        return

    def first(self) -> LoaderSource:
        """Return the first image."""
        return self.take(1, None)

    def sound(self) -> LoaderSource:
        """Return itself: what a loader yields is its own."""
        return self

    def take(self, n: int, rng: np.random.Generator | None) -> LoaderSource:
        """Return the first ``n`` images: a loader's order is its own, so ``rng`` draws nothing."""
        return replace(self, limit=n if self.limit is None else min(n, self.limit))

    def at(self, positions: Ints) -> LoaderSource:
        """Refuse: a loader's images come in its own order."""
        raise DataError(
            f"{self.name}: a Python loader's images cannot be had by number; give a folder of"
            " images, or a .npz"
        )

    def batches(self, size: int) -> Iterator[RawBatch]:
        """Yield the images in order. No batch joins images of two of the loader's batches."""
        done, labelled = 0, None
        for x, y in self._pass():
            if self.read.needed and labelled not in (None, y is not None):
                raise DataError(
                    f"{self.name}: some batches have labels and some have none; yield (x, y) always"
                )
            labelled = y is not None
            n = rows(x)
            for start in range(0, n, size):
                stop = min(start + size, n)
                if self.limit is not None:
                    stop = min(stop, start + self.limit - done)
                names = tuple(f"{self.name} image {done + i}" for i in range(stop - start))
                part = slice(start, stop)
                yield RawBatch(_cut(x, part), None if y is None else y[part], names)
                done += stop - start
                if done == self.limit:
                    return

    def _pass(self) -> Iterator[tuple[Feed, Answers | None]]:
        """Yield the loader's own batches as arrays; what it raises becomes a DataError."""
        try:
            batches = self.function()
            if not isinstance(batches, Iterable):
                raise DataError(
                    f"{self.name}: returns {type(batches).__name__}, not batches; yield x or (x, y)"
                )
            for i, item in enumerate(batches):
                yield _arrays(item, f"{self.name} batch {i}", self.read)
        except DataError:
            raise
        except Exception as error:  # the user's code raises anything
            reason = " ".join(str(error).split())
            raise DataError(
                f"{self.name}: raised {type(error).__name__}: {reason}; correct the loader"
            ) from error


def _cut(x: Feed, part: slice) -> Feed:
    return of_each(x, lambda array: array[part])


def _arrays(item: object, name: str, labels: LabelFormat) -> tuple[Feed, Answers | None]:
    """Return a loader's item as arrays: ``x (b, …)``, or one for each input, and ``y (b, …)``."""
    if isinstance(item, tuple | list):
        if len(item) not in (1, 2):
            raise DataError(f"{name}: {len(item)} values, not 1 or 2; yield x or (x, y)")
        x, y = _feed(item[0]), np.asarray(item[1]) if len(item) == 2 else None
    else:
        x, y = _feed(item), None
    each = each_of(x)
    if len({array.shape[:1] for array in each}) != 1 or not each[0].ndim:
        shapes = ", ".join(str(array.shape) for array in each) or "none"
        raise DataError(f"{name}: arrays of shapes {shapes}; yield batches, a row per sample")
    return x, None if y is None else labels.read(lambda: y, rows(x), name)[0]


def _feed(x: object) -> Feed:
    if isinstance(x, Mapping):
        return {str(name): np.asarray(array) for name, array in x.items()}
    return np.asarray(x)


def open_loader(spec: str, labels: LabelFormat = CLASSES) -> LoaderSource:
    """Import ``package.module:function``; the current folder is searched last."""
    module_name, _, function_name = spec.partition(":")
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # the user's module runs as it is imported, and raises anything
        reason = " ".join(str(error).split())
        raise DataError(
            f"{spec}: importing {module_name} raised {type(error).__name__}: {reason}; install it "
            "or run from the folder that holds it"
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        meant = near.hint(function_name, vars(module)) or "; define it there"
        what = "has no" if function is None else "has no function"
        raise DataError(f"{spec}: module {module_name} {what} '{function_name}'{meant}")
    return LoaderSource(spec, function, read=labels)
