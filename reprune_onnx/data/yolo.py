"""Images with objects as Ultralytics has them: a ``data.yaml``, and a text file beside each image.

A line of such a file is an object: the number of its class and its box (centre x, y and extents w,
h), its outline (x, y of three corners or more), or its box and keypoints (x, y and perhaps whether
it is seen). All are shares of the image's width and height.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reprune_onnx import unreadable
from reprune_onnx.data.class_names import numbered_names
from reprune_onnx.data.coco import CocoData
from reprune_onnx.data.image_folder import ImageFile
from reprune_onnx.data.images import image_size
from reprune_onnx.data.listed_images import images_below, unlabelled
from reprune_onnx.errors import DataError
from reprune_onnx.types import Floats

_SPLITS = ("val", "test", "train")
_BEYOND = 0.01  # a share rounded by a tool; what lies outside the image is cut off
_MOST = 1 << 24  # bytes: such files are small
_BOX = 5  # columns of a class and a box


@dataclass(frozen=True)
class YoloConfig:
    """A ``data.yaml``: the classes, the images of a split, and (keypoints, columns)."""

    path: Path
    names: tuple[str, ...]
    files: tuple[ImageFile, ...]
    keypoints: tuple[int, int] | None = None


def open_yolo(path: Path) -> CocoData:
    """Open the images of ``val`` (else ``test``, else ``train``) with their label files.

    The label file of ``…/images/a.jpg`` is ``…/labels/a.txt``; where no folder is called images it
    lies beside the image. An image whose label file is empty or missing has no objects. Boxes are
    cut off at the image's edges. Raises DataError in one line that names the file and the line.
    """
    config = read_config(path)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    missing = []
    for k, file in enumerate(config.files):
        h, w = image_size(file) or (0, 0)  # decoding tells what is wrong with a broken one
        images.append({"id": k, "file_name": file.name, "height": h, "width": w})
        labels = label_file(file.path)
        if not labels.is_file():
            missing.append(labels)
            continue
        for entry in _objects(labels, config, (h, w)):
            annotations.append({**entry, "id": len(annotations) + 1, "image_id": k, "iscrowd": 0})
    notes = unlabelled(str(path), missing, len(images))
    categories = [{"id": i, "name": name} for i, name in enumerate(config.names)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    return CocoData(path.name, dict(enumerate(config.files)), content, notes)


def read_config(path: Path) -> YoloConfig:
    """Read a ``data.yaml``; DataError where it cannot be read or its images are not there."""
    try:
        import yaml
    except ImportError as error:
        raise DataError(
            f"'{path}' needs PyYAML to be read: pip install 'reprune-onnx[coco]'"
        ) from error
    try:
        if path.stat().st_size > _MOST:
            raise ValueError("it has more than 16 MiB")
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise DataError(f"'{path}' cannot be read: {unreadable.reason(error)}") from error
    names = content.get("names") if isinstance(content, dict) else None
    if not isinstance(names, Mapping | list):
        raise DataError(
            f"'{path}' has no names, a list or numbers with names: give a data.yaml as"
            " Ultralytics has it"
        )
    classes = numbered_names(names, f"names of '{path}'")
    return YoloConfig(path, classes, _images(content, path), _keypoints(content, path))


def label_file(image: Path) -> Path:
    """Where the objects of an image stand.

    >>> label_file(Path("coco/images/val/7.jpg")).as_posix()
    'coco/labels/val/7.txt'
    """
    parts = list(image.parts)
    folders = [i for i, part in enumerate(parts[:-1]) if part == "images"]
    if folders:
        parts[folders[-1]] = "labels"
    return Path(*parts).with_suffix(".txt")


def _keypoints(content: Mapping[str, Any], path: Path) -> tuple[int, int] | None:
    shape = content.get("kpt_shape")
    if shape is None:
        return None
    if not (isinstance(shape, list) and len(shape) == 2 and all(type(n) is int for n in shape)):
        raise DataError(f"'{path}': kpt_shape is {shape}: give [keypoints, 2] or [keypoints, 3]")
    return shape[0], shape[1]


def _images(content: Mapping[str, Any], path: Path) -> tuple[ImageFile, ...]:
    """The images of the first split there is, in sorted order."""
    split = next((name for name in _SPLITS if content.get(name)), None)
    if split is None:
        raise DataError(f"'{path}' has neither val nor test nor train: name a folder of images")
    given = content[split] if isinstance(content[split], list) else [content[split]]
    files: list[ImageFile] = []
    for entry in map(str, given):
        place = _place(entry, _roots(content.get("path"), path))
        if place is None:
            raise DataError(
                f"'{path}': {split} is '{entry}', which is not there; give a folder, or a .txt of"
                " images, below its path"
            )
        files += _listed(place) if place.is_file() else images_below(place)
    if not files:
        raise DataError(f"'{path}': there are no images in {split}, '{given[0]}'; check its path")
    return tuple(files)


def _roots(given: object, path: Path) -> list[Path]:
    """Where the folders of a file may lie: below its path, as written or from here, or beside."""
    roots = [] if given is None else [path.parent / str(given), Path(str(given))]
    return [*roots, path.parent]


def _place(entry: str, roots: Sequence[Path]) -> Path | None:
    """The first place that is there; files of Roboflow begin with one ``../`` too many."""
    shorter = [entry[3:]] if entry.startswith("../") else []
    places = (root / e for e in (entry, *shorter) for root in roots)
    return next((place for place in places if place.exists()), None)


def _listed(text: Path) -> list[ImageFile]:
    """The images that the lines of a file name, from its folder on or from the current one."""
    listed = []
    for line in text.read_text(encoding="utf-8", errors="replace").splitlines():
        if not line.strip():
            continue
        places = (text.parent / line.strip(), Path(line.strip()))
        image = next((place for place in places if place.is_file()), None)
        if image is None:
            raise DataError(f"'{text}' lists '{line.strip()}', which is not there; check its path")
        listed.append(ImageFile(str(image), image))
    return listed


def _objects(labels: Path, config: YoloConfig, size: tuple[int, int]) -> list[dict[str, Any]]:
    """The objects of a label file on an image of (h, w); a line that stands twice counts once."""
    try:
        lines = labels.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = unreadable.reason(error)
        raise DataError(f"label file '{labels}' cannot be read: {reason}") from error
    objects = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            objects[line.strip()] = _object(line.split(), config, size)
        except ValueError as error:
            raise DataError(f"label file '{labels}', line {number}: {error}") from error
    return list(objects.values())


def _object(words: Sequence[str], config: YoloConfig, size: tuple[int, int]) -> dict[str, Any]:
    """One object in COCO's fields; ValueError says what is wrong with the line."""
    try:
        label, *values = map(float, words)
    except ValueError:
        raise ValueError(f"'{' '.join(words)[:40]}' is not made of numbers") from None
    classes = len(config.names)
    if label not in range(classes):
        raise ValueError(
            f"class {label:g}, but '{config.path}' names {classes} classes, 0 to {classes - 1};"
            " give the label files that belong to it"
        )
    scale = np.array([size[1], size[0]], np.float64)
    entry: dict[str, Any] = {"category_id": int(label)}
    n = len(words)
    if config.keypoints is not None and n == _BOX + int(np.prod(config.keypoints)):
        points = np.array(values[4:]).reshape(config.keypoints)
        entry |= _with_keypoints(points, scale)
    elif n != _BOX and (n < _BOX + 2 or n % 2 == 0):
        raise ValueError(f"{n} columns: give a class and x y w h, or the corners of an outline")
    if n > _BOX and "keypoints" not in entry:
        outline = _inside(np.array(values).reshape(-1, 2)) * scale
        low, high = outline.min(axis=0), outline.max(axis=0)
        x, y = outline.T
        area = abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) / 2
        entry |= {"segmentation": [outline.ravel().tolist()], "area": area}
    else:
        box = _inside(np.array(values[:4]).reshape(2, 2))
        low = np.clip(box[0] - box[1] / 2, 0, 1) * scale
        high = np.clip(box[0] + box[1] / 2, 0, 1) * scale
        entry["area"] = float(np.prod(high - low))
    return {**entry, "bbox": [*low.tolist(), *(high - low).tolist()]}


def _inside(shares: Floats) -> Floats:
    """Shares within 0 to 1; ValueError for what is no share of the image."""
    outside = shares[~((shares >= -_BEYOND) & (shares <= 1 + _BEYOND))]
    if len(outside):
        raise ValueError(
            f"{outside[0]:g} lies outside of the image: give shares of its width and height, 0 to 1"
        )
    return np.clip(shares, 0.0, 1.0)


def _with_keypoints(points: Floats, scale: Floats) -> dict[str, Any]:
    """Keypoints (k, 2 or 3) in pixels; without a third column those at 0, 0 are not labelled."""
    seen = points[:, 2] if points.shape[1] > 2 else 2.0 * (points[:, :2] != 0).any(axis=1)
    rows = np.column_stack([_inside(points[:, :2]) * scale, seen])
    return {"keypoints": rows.ravel().tolist(), "num_keypoints": int((seen > 0).sum())}
