"""Images with objects, in whichever of the usual formats they lie at a path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from reprune_onnx.data.class_names import ClassNames
from reprune_onnx.data.coco import CocoData, has_annotations, open_coco
from reprune_onnx.data.images import ImageSource, ReadingOptions, open_images
from reprune_onnx.data.labels import IF_CLASSES
from reprune_onnx.data.voc import open_voc, voc_root
from reprune_onnx.data.yolo import open_yolo, read_config
from reprune_onnx.errors import DataError

_YAML = (".yaml", ".yml")


@dataclass(frozen=True)
class _Format:
    """``at(path)``: whether such data lies there; ``outlines``: whether it may have masks."""

    at: Callable[[Path], bool]
    open: Callable[[Path, ClassNames | None], CocoData]
    outlines: bool


def _config_at(path: Path) -> Path | None:
    """The ``data.yaml`` that a path is, or that lies alone in a folder."""
    if path.suffix.lower() in _YAML:
        return path
    files = [p for suffix in _YAML for p in path.glob(f"*{suffix}")] if path.is_dir() else []
    return files[0] if len(files) == 1 else None


_FORMATS = (
    _Format(has_annotations, lambda path, _: open_coco(path), outlines=True),
    _Format(
        lambda path: _config_at(path) is not None,
        lambda path, _: open_yolo(_config_at(path) or path),
        outlines=True,
    ),
    _Format(lambda path: voc_root(path) is not None, open_voc, outlines=False),
)


def has_outlines(path: Path) -> bool:
    """Whether data in a format that may hold outlines of objects lies at ``path``."""
    return any(each.outlines and each.at(path) for each in _FORMATS)


def open_objects(
    path: Path, annotations: Path | None = None, names: ClassNames | None = None
) -> CocoData:
    """Open images with objects: of COCO, of Ultralytics or of Pascal VOC, told by what lies there.

    ``annotations`` is a file of COCO for a folder of images. ``names`` are the model's classes, for
    data that has names and no numbers. Raises DataError in one line.
    """
    if annotations is None:
        for each in _FORMATS:
            if each.at(path):
                return each.open(path, names)
    return open_coco(path, annotations)


def without_broken(data: CocoData) -> CocoData:
    """Data without the images that cannot be decoded, which a note counts, and their objects."""
    sound = ImageSource(data.name, tuple(data.files.values()), None, skip_broken=True).sound()
    files = {k: file for k, file in data.files.items() if file in set(sound.files)}
    content = {
        **data.content,
        "images": [i for i in data.content["images"] if i["id"] in files],
        "annotations": [a for a in data.content["annotations"] if a["image_id"] in files],
    }
    return CocoData(data.name, files, content, (*data.notes, *sound.notes))


def images_alone(path: Path) -> ImageSource:
    """The images of a folder, of a .tar, or of a ``data.yaml``, whatever their labels are."""
    config = _config_at(path)
    if config is not None:
        return ImageSource(str(config), read_config(config).files, None)
    if not path.is_dir() and path.suffix != ".tar":
        raise DataError(
            f"'{path}': detectors are compared on a folder or .tar of images, or the images of a"
            " data.yaml; give one"
        )
    return open_images(path, "RGB", "test", ReadingOptions(labels=IF_CLASSES))
