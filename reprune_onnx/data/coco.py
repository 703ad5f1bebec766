"""Images with objects in COCO's format: a folder, and a JSON file of what is on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from reprune_onnx import unreadable
from reprune_onnx.data.image_folder import ImageFile
from reprune_onnx.errors import DataError
from reprune_onnx.json_text import parse_json
from reprune_onnx.note import Note

_FAR = 1e30


@dataclass(frozen=True)
class CocoData:
    """``files`` by image id, in order; ``content`` are their objects as COCO's file has them.

    An annotation with ``difficult`` counts neither as hit nor as missed. ``notes`` say what was
    assumed.
    """

    name: str
    files: dict[int, ImageFile]
    content: dict[str, Any]
    notes: tuple[Note, ...] = ()

    @property
    def categories(self) -> list[int]:
        """The ids of the categories, ascending."""
        return sorted(int(c["id"]) for c in self.content["categories"])

    @property
    def class_names(self) -> dict[str, int] | None:
        """The id of each category by its name; None where names are missing or not unique."""
        entries = self.content["categories"]
        named = {str(c["name"]): int(c["id"]) for c in entries if c.get("name") is not None}
        return named if named and len(named) == len(entries) else None

    @property
    def has_masks(self) -> bool:
        """Whether every object has an outline."""
        annotations = self.content["annotations"]
        return bool(annotations) and all(a.get("segmentation") for a in annotations)

    @property
    def has_keypoints(self) -> bool:
        """Whether every object has keypoints."""
        annotations = self.content["annotations"]
        return bool(annotations) and all(
            a.get("keypoints") and "num_keypoints" in a for a in annotations
        )


def open_coco(folder: Path, annotations: Path | None = None) -> CocoData:
    """Open the images of ``folder`` that the file ``annotations`` lists.

    By default it is the only .json in the folder, or in the folder's ``annotations``. Raises
    DataError in one line where it is missing or no such file, or where an image is missing.
    """
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "does not exist"
        raise DataError(f"'{folder}' {what}; give the folder of the images, or a data.yaml")
    path = annotations or _only_json(folder)
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"there is no annotation file '{path}'; check --annotations") from None
    except (OSError, ValueError) as error:
        reason = unreadable.reason(error)
        raise DataError(f"annotation file '{path}' cannot be read: {reason}") from error
    _check(content, path)
    files = {int(i["id"]): _image(folder, i["file_name"], path) for i in content["images"]}
    return CocoData(path.name, files, content)


def has_annotations(data: Path) -> bool:
    """Whether ``data`` is a folder in which COCO's annotations may lie: a .json."""
    places = (data, data / "annotations")
    return data.is_dir() and any(any(place.glob("*.json")) for place in places)


def _only_json(folder: Path) -> Path:
    for place in (folder, folder / "annotations"):
        files = sorted(place.glob("*.json")) if place.is_dir() else []
        if len(files) == 1:
            return files[0]
        if files:
            names = ", ".join(f.name for f in files[:3])
            raise DataError(
                f"'{place}' holds {len(files)} .json files ({names}…): give --annotations"
            )
    raise DataError(
        f"there is no annotation file in '{folder}', neither a .json of COCO nor a data.yaml of"
        " Ultralytics nor Annotations/ of Pascal VOC: give one, a .json with --annotations, or,"
        " without any, the original with --against"
    )


def _is_whole(value: object) -> bool:
    return type(value) is int


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and -_FAR < value < _FAR  # False for NaN


def _is_box(value: object) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(_is_number, value))


def _is_text(value: object) -> bool:
    return isinstance(value, str)


_FIELDS: dict[str, dict[str, Callable[[object], bool]]] = {
    "images": {"id": _is_whole, "file_name": _is_text},
    "annotations": {
        "id": _is_whole,
        "image_id": _is_whole,
        "category_id": _is_whole,
        "bbox": _is_box,
        "area": _is_number,
    },
    "categories": {"id": _is_whole},
}


def _check(content: object, path: Path) -> None:
    if not isinstance(content, dict) or any(
        not isinstance(content.get(part), list) for part in _FIELDS
    ):
        parts = ", ".join(_FIELDS)
        raise DataError(
            f"annotation file '{path}' is not in COCO's format: it has no lists {parts}"
        )
    for part, fields in _FIELDS.items():
        for k, entry in enumerate(content[part]):
            for key, fits in fields.items():
                if not isinstance(entry, dict) or key not in entry:
                    raise DataError(f"annotation file '{path}': {part}[{k}] has no '{key}'")
                if not fits(entry[key]):
                    raise DataError(
                        f"annotation file '{path}': the '{key}' of {part}[{k}] is"
                        f" {str(entry[key])[:40]!r}"
                    )
    if not content["images"]:
        raise DataError(f"annotation file '{path}' lists no images")
    images = {entry["id"] for entry in content["images"]}
    categories = {entry["id"] for entry in content["categories"]}
    for entry in content["annotations"]:
        for key, listed in (("image_id", images), ("category_id", categories)):
            if entry[key] not in listed:
                raise DataError(
                    f"annotation file '{path}': annotation {entry['id']} has {key} {entry[key]},"
                    " which the file does not list"
                )


def _image(folder: Path, name: str, path: Path) -> ImageFile:
    file = folder / name
    if PurePath(name).is_absolute() or ".." in PurePath(name).parts:
        raise DataError(f"image '{name}', which '{path}' lists, lies outside '{folder}'")
    if not file.is_file():
        raise DataError(f"image '{name}', which '{path}' lists, is not in '{folder}'")
    return ImageFile(str(file), file)
