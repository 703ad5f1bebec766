"""COCO's annotation files: what is in them, and every refusal in one line."""

import json
from copy import deepcopy

import pytest
from PIL import Image

from reprune_onnx.data.coco import open_coco
from reprune_onnx.errors import DataError

CONTENT = {
    "images": [{"id": 5, "file_name": "a.png"}],
    "annotations": [
        {"id": 1, "image_id": 5, "category_id": 2, "bbox": [0, 0, 2.5, 2], "area": 5.0}
    ],
    "categories": [{"id": 7}, {"id": 2}],
}


@pytest.fixture
def folder(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for file in (images / "a.png", tmp_path / "outside.png"):
        Image.new("RGB", (4, 4)).save(file)
    return images


def write(folder, part=None, **fields):
    """COCO's file with other fields in the first entry of one of its lists."""
    content = deepcopy(CONTENT)
    if part is not None:
        content[part][0].update(fields)
    (folder / "o.json").write_text(json.dumps(content))


def refused(folder, *words, **more):
    with pytest.raises(DataError) as error:
        open_coco(folder, **more)
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


@pytest.mark.parametrize("inner", ["", "annotations"])
def test_the_only_file_is_found(folder, inner):
    (folder / inner).mkdir(exist_ok=True)
    write(folder / inner)
    data = open_coco(folder)
    assert data.files[5].path == folder / "a.png"
    assert data.categories == [2, 7]
    assert not data.has_masks


def test_images_may_be_links(folder):
    (folder / "b.png").symlink_to(folder.parent / "outside.png")
    write(folder, "images", file_name="b.png")
    assert open_coco(folder).files[5].path == folder / "b.png"


def test_refusals_of_the_place(folder):
    refused(folder / "none", "does not exist; give the folder of the images")
    refused(folder, "there is no annotation file")
    refused(folder, "no.json", annotations=folder / "no.json")
    refused(folder, "cannot be read", annotations=folder)
    write(folder)
    (folder / "p.json").write_text("{}")
    refused(folder, "2 .json files (o.json, p.json…)", "--annotations")
    refused(folder, "no lists images, annotations, categories", annotations=folder / "p.json")


@pytest.mark.parametrize(
    ("part", "fields", "words"),
    [
        ("images", {"id": [5]}, "the 'id' of images[0] is '[5]'"),
        ("images", {"id": "5"}, "the 'id' of images[0] is '5'"),
        ("images", {"file_name": 5}, "the 'file_name' of images[0]"),
        ("images", {"file_name": "lost.png"}, "image 'lost.png'"),
        ("images", {"file_name": "../outside.png"}, "lies outside"),
        ("images", {"file_name": "a\x00.png"}, "image 'a"),
        ("annotations", {"image_id": {}}, "the 'image_id' of annotations[0]"),
        ("annotations", {"image_id": 6}, "annotation 1 has image_id 6"),
        ("annotations", {"category_id": 1}, "annotation 1 has category_id 1"),
        ("annotations", {"bbox": [1, 2, 3]}, "the 'bbox' of annotations[0]"),
        ("annotations", {"bbox": [1, 2, 3, "4"]}, "the 'bbox' of annotations[0]"),
        ("annotations", {"bbox": [1, 2, 3, float("nan")]}, "NaN is no number"),
        ("annotations", {"area": None}, "the 'area' of annotations[0]"),
        ("annotations", {"area": 10**400}, "the 'area' of annotations[0]"),
        ("categories", {"id": 2.5}, "the 'id' of categories[0]"),
    ],
)
def test_refusals_of_the_content(folder, part, fields, words):
    write(folder, part, **fields)
    refused(folder, words)


@pytest.mark.parametrize("part", CONTENT)
def test_a_field_less(folder, part):
    content = {name: [dict(entry) for entry in entries] for name, entries in CONTENT.items()}
    del content[part][0]["id"]
    (folder / "o.json").write_text(json.dumps(content))
    refused(folder, f"{part}[0] has no 'id'")


def test_an_absolute_path_is_refused(folder):
    write(folder, "images", file_name=str(folder.parent / "outside.png"))
    refused(folder, "outside.png")


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"images": NaN}', "[3]"])
def test_text_that_is_no_such_json(folder, text):
    (folder / "o.json").write_text(text)
    refused(folder, "annotation file")


def test_no_images(folder):
    (folder / "o.json").write_text(json.dumps({**CONTENT, "images": [], "annotations": []}))
    refused(folder, "lists no images")
