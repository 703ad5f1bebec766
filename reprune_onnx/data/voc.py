"""Images with objects as Pascal VOC has them: an .xml for each image.

They lie in ``Annotations/`` and ``JPEGImages/``, or side by side as annotation tools write them. A
box counts pixels from 1, its last ones included, so that in COCO's edges it is xmin − 1, ymin − 1,
xmax, ymax.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from reprune_onnx import unreadable
from reprune_onnx.data.class_names import ClassNames
from reprune_onnx.data.coco import CocoData
from reprune_onnx.data.image_folder import ImageFile
from reprune_onnx.data.images import image_size
from reprune_onnx.data.listed_images import images_below, unlabelled
from reprune_onnx.errors import DataError
from reprune_onnx.note import Note

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
_EDGES = ("xmin", "ymin", "xmax", "ymax")
_LISTS = ("test.txt", "val.txt")
_MOST = 1 << 24  # bytes: such files are small


def voc_root(folder: Path) -> Path | None:
    """The folder that holds ``Annotations/``, or images with an .xml beside them; None if none.

    It may be the only folder in the one that is given, or two deep, as in VOCdevkit.
    """
    for _ in range(3):
        beside = any(path.is_file() for path in folder.glob("*.xml"))
        if beside or (folder / "Annotations").is_dir():
            return folder
        inner = [p for p in folder.iterdir() if p.is_dir()] if folder.is_dir() else []
        if len(inner) != 1:
            return None
        folder = inner[0]
    return None


def open_voc(folder: Path, names: ClassNames | None = None) -> CocoData:
    """Open the images of ``folder`` with the objects of their .xml, those of the list if any.

    The list is ``ImageSets/Main/test.txt``, else ``val.txt``. The classes are ``names``; without
    them VOC's twenty where the objects are of these, else the objects' own in sorted order, which
    is said. Objects called difficult count neither as hits nor as missed. Raises DataError in one
    line that names the file.
    """
    root = voc_root(folder) or folder
    objects: list[dict[str, Any]] = []
    images, missing = [], []
    files = dict(enumerate(_images(root)))
    places = root / "Annotations"
    for k, file in files.items():
        size = image_size(file) or (0, 0)
        images.append({"id": k, "file_name": file.name, "height": size[0], "width": size[1]})
        near = places if places.is_dir() else file.path.parent
        xml = near / f"{file.path.stem}.xml"
        if not xml.is_file():
            missing.append(xml)
            continue
        objects += [{**entry, "image_id": k} for entry in _objects(xml, size)]
    notes = unlabelled(str(folder), missing, len(images))
    order, more = _classes({o["name"]: o["xml"] for o in objects}, names)
    annotations = [
        {
            **{key: o[key] for key in ("image_id", "bbox", "area", "difficult")},
            "id": i + 1,
            "iscrowd": 0,
            "category_id": order.index(o["name"]) + 1,
        }
        for i, o in enumerate(objects)
    ]
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(order)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    return CocoData(folder.name, files, content, (*notes, *more))


def _classes(
    used: dict[str, Path], names: ClassNames | None
) -> tuple[Sequence[str], tuple[Note, ...]]:
    """The classes in the order of the model's, and what was assumed of it."""
    if names is not None:
        unknown = next((name for name in used if name not in names.names), None)
        if unknown is not None:
            raise DataError(
                f"'{used[unknown]}' has an object '{unknown}', which is not among the"
                f" {len(names.names)} classes of {names.source} ('{names.names[0]}' to"
                f" '{names.names[-1]}'); give the model's classes, so called, with --classes FILE"
            )
        return names.names, ()
    if used.keys() <= set(VOC_CLASSES):
        return VOC_CLASSES, ()
    order = sorted(used)
    note = Note(
        f"the classes are taken in sorted order, 0 is '{order[0]}' and {len(order) - 1} is"
        f" '{order[-1]}'; --classes FILE gives the model's"
    )
    return order, (note,)


def _images(root: Path) -> Iterable[ImageFile]:
    place = root / "JPEGImages"
    listed = images_below(place if place.is_dir() else root)
    text = next((p for name in _LISTS if (p := root / "ImageSets" / "Main" / name).is_file()), None)
    if text is not None:
        by_stem = {file.path.stem: file for file in listed}
        stems = [line.split()[0] for line in text.read_text().splitlines() if line.strip()]
        lost = next((stem for stem in stems if stem not in by_stem), None)
        if lost is not None:
            raise DataError(f"'{text}' lists '{lost}', but '{place}' has no such image; add it")
        listed = [by_stem[stem] for stem in stems]
    if not listed:
        raise DataError(f"'{root}' has annotations of Pascal VOC, but no images: add JPEGImages/")
    return listed


def _objects(xml: Path, size: tuple[int, int]) -> list[dict[str, Any]]:
    """The objects of a file on an image of (h, w), cut off at its edges."""
    try:
        if xml.stat().st_size > _MOST:
            raise ValueError("it has more than 16 MiB")
        tree = ElementTree.parse(xml).getroot()
        return [_object(element, xml, size) for element in tree.iter("object")]
    except (OSError, ValueError, ElementTree.ParseError) as error:
        reason = unreadable.reason(error)
        raise DataError(f"annotation file '{xml}' cannot be read: {reason}") from error


def _object(element: ElementTree.Element, xml: Path, size: tuple[int, int]) -> dict[str, Any]:
    """One object; ValueError says what is wrong with it."""
    name = (element.findtext("name") or "").strip()
    if not name:
        raise ValueError("an object has no name")
    texts = [element.findtext(f"bndbox/{edge}") for edge in _EDGES]
    if None in texts:
        raise ValueError(f"object '{name}' has no bndbox with {', '.join(_EDGES)}")
    edges = [float(text or "nan") for text in texts]
    h, w = size
    x1, y1 = max(edges[0] - 1, 0.0), max(edges[1] - 1, 0.0)
    x2, y2 = min(edges[2], float(w)), min(edges[3], float(h))
    if size != (0, 0) and not (x1 < x2 and y1 < y2):
        raise ValueError(
            f"the box {', '.join(map(str, texts))} of object '{name}' does not lie on the image of"
            f" {w}×{h}"
        )
    area = (x2 - x1) * (y2 - y1)
    difficult = (element.findtext("difficult") or "0").strip() == "1"
    box = [x1, y1, x2 - x1, y2 - y1]
    return {"name": name, "xml": xml, "bbox": box, "area": area, "difficult": difficult}
