"""Open what the command line calls DATA."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from reprune_onnx.data.cifar import cifar_folder, open_cifar
from reprune_onnx.data.dataset import Dataset
from reprune_onnx.data.fit import covering
from reprune_onnx.data.generated.spec import is_generated
from reprune_onnx.data.held import open_held
from reprune_onnx.data.images import (
    ImageSource,
    ReadingOptions,
    decoded_mode,
    image_size,
    open_images,
)
from reprune_onnx.data.loader import open_loader
from reprune_onnx.data.named_arrays import open_arrays
from reprune_onnx.data.npz import npy_arrays, npz_arrays
from reprune_onnx.data.preprocess import PRESETS, Preprocess, parse_preprocess
from reprune_onnx.data.source import Source, Split, pick
from reprune_onnx.data.target import ArrayTarget, DataInput, ImageTarget, target_of
from reprune_onnx.errors import DataError
from reprune_onnx.in_memory import InMemory
from reprune_onnx.note import Note
from reprune_onnx.types import Shape

_LOADER = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_LOOKED_AT = 16  # image files whose size is read to tell what happens to them
_ARRAYS = {".npz": npz_arrays, ".npy": npy_arrays}
_FORMS = "DATA is a .npz, a .npy, a folder or .tar of images, or package.module:function"


def open_data(
    spec: str | InMemory,
    *,
    preprocess: str | None = None,
    input_shape: Shape,
    dtype: DTypeLike = np.float32,
    split: Split = "test",
    reading: ReadingOptions | None = None,
) -> Dataset:
    """Open the data ``spec`` for the one input of a model, of this shape and type.

    See ``open_inputs``.
    """
    inputs = (DataInput("input", input_shape, np.dtype(dtype)),)
    return open_inputs(spec, inputs, preprocess=preprocess, split=split, reading=reading)


def open_inputs(
    spec: str | InMemory,
    inputs: Sequence[DataInput],
    *,
    preprocess: str | None,
    split: Split = "test",
    reading: ReadingOptions | None = None,
) -> Dataset:
    """Open the data ``spec`` for the inputs of a model.

    * ``FILE.npz``, ``FILE.npz:x_name`` or ``FILE.npz:x_name,y_name``, and ``FILE.npy``: see
      ``open_arrays``;
    * a folder of images, or a .tar of one, whose sub-folders in sorted order are the labels, or
      in the order that ``folder`` states;
    * the folder into which torchvision puts CIFAR-10 or CIFAR-100;
    * ``package.module:function``, which yields batches ``x`` or ``(x, y)``;
    * what is in memory: see `open_held`.

    One input of rank 4 takes images, (N, C, H, W) or (N, H, W, C); arrays are transposed to it.
    What any others take are arrays, whose values go in as they are. ``split`` says
    what is wanted where the data holds both: ``test`` for evaluation, ``train`` for calibration.
    ``reading`` says what labels are, whether they are needed, and how folders are read.
    ``preprocess`` is the text of ``--preprocess``, see ``parse_preprocess``; without it 8-bit data
    (image files, uint8 arrays) is scaled to 0–1 and floats are taken as they are. The
    ``preprocess`` of the result says what was decided.

    DataError if the data cannot be read or does not fit: one image is read and fitted right away,
    except of a loader, which is first called when batches are asked for.
    """
    how = parse_preprocess(preprocess)
    target = target_of(inputs)
    if isinstance(target, ArrayTarget):
        how = _unchanged(how, target)
    source = _open_source(spec, how, target, split, reading or ReadingOptions())
    dataset = Dataset(source, how, target)
    if source.size is None:
        return dataset
    one = source.first()
    if isinstance(target, ImageTarget):
        first = next(one.batches(1)).x
        raw = first.dtype if isinstance(first, np.ndarray) else np.dtype(np.uint8)
        dataset = replace(dataset, preprocess=how.resolve(raw, target.dtype))
    next(replace(dataset, source=one).batches(1))
    return replace(dataset, said=_resized(source, how, target))


def _unchanged(how: Preprocess, target: ArrayTarget) -> Preprocess:
    """Values as they are; DataError where something else is asked for."""
    unchanged = PRESETS["none"]
    if how in (Preprocess(), unchanged):
        return unchanged
    raise DataError(
        f"--preprocess {how} is of images (N, C, H, W), but the model takes {target}, whose values"
        " go in as they are: leave it out, and give the values that the model was trained on"
    )


def _resized(
    source: Source, how: Preprocess, target: ImageTarget | ArrayTarget
) -> tuple[Note, ...]:
    """Say that large images are resized, where some of them are."""
    if not isinstance(source, ImageSource) or isinstance(target, ArrayTarget):
        return ()
    for i in pick(source.size, _LOOKED_AT, None):
        size = image_size(source.files[i])
        if size is not None and (to := covering(*size, how, target)) is not None:
            h, w = target.height, target.width
            return (
                Note(
                    f"images much larger than {h}×{w} are resized to cover it, then cropped"
                    f" ({source.files[i].name}: {size[0]}×{size[1]} to {to[0]}×{to[1]});"
                    " --preprocess size=…;crop=… says otherwise"
                ),
            )
    return ()


def _open_source(
    spec: str | InMemory,
    how: Preprocess,
    target: ImageTarget | ArrayTarget,
    split: Split,
    reading: ReadingOptions,
) -> Source:
    if is_generated(spec) and not Path(spec).exists():
        raise DataError(
            f"'{spec}': generated images are for --calibration alone; nothing is known of them that"
            " a model could be measured by or trained on, so give own images"
        )
    if isinstance(spec, InMemory):
        return open_held(spec, split, target, reading.labels)
    path = Path(spec).expanduser()
    names = ""
    named = re.fullmatch(r"(.*\.npz):(.*)", spec, re.IGNORECASE | re.DOTALL)
    if named and not path.exists():
        path, names = Path(named[1]).expanduser(), named[2]
    elif not path.exists() and _LOADER.fullmatch(spec):
        return open_loader(spec, reading.labels)
    if not spec.strip() or not path.exists():
        raise DataError(f"'{path if spec.strip() else spec}' does not exist; {_FORMS}")
    opened = _ARRAYS.get(path.suffix.lower())
    if opened is not None and not path.is_dir():
        return open_arrays(opened(path), names, split, target, reading.labels)
    cifar = cifar_folder(path)
    if cifar is None and not path.is_dir() and path.suffix.lower() != ".tar":
        hint = "decompress it first; " if path.name.lower().endswith((".tar.gz", ".tgz")) else ""
        raise DataError(f"{path} is of no known kind; {hint}{_FORMS}")
    if isinstance(target, ArrayTarget):
        raise DataError(
            f"{path} holds images, but the model takes {target}: give a .npz, a .npy or a Python"
            " function"
        )
    if cifar is not None:
        return open_cifar(cifar, split, reading.labels)
    return open_images(path, decoded_mode(how.color, target.channels), split, reading)
