"""Photos as cameras and scanners write them: turned, deep, large, broken, of other kinds."""

import numpy as np
import pytest
from PIL import Image

from reprune_onnx.data import open_data
from reprune_onnx.data.images import ReadingOptions
from reprune_onnx.errors import DataError

ANY = (None, 3, None, None)
ORIENTATION = 0x0112
STORED = {  # how a camera that writes this orientation stores an upright picture (h, w, c)
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.transpose(1, 0, 2),
    6: np.rot90,
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


def opened(path, shape=ANY, preprocess="none", skip_broken=False):
    return open_data(
        str(path),
        preprocess=preprocess,
        input_shape=shape,
        dtype="float32",
        reading=ReadingOptions(skip_broken=skip_broken),
    )


def pixels(path, shape=ANY, preprocess="none"):
    return next(opened(path, shape, preprocess).batches(9))[0]


def picture(h=6, w=8, c=3, seed=0):
    shape = (h, w, c) if c > 1 else (h, w)
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", STORED)
def test_photos_are_turned_upright(tmp_path, suffix, orientation):
    upright = picture()
    stored = STORED[orientation](upright)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    how = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / f"a.{suffix}", exif=exif, **how)
    seen = pixels(tmp_path)[0].transpose(1, 2, 0)
    assert seen.shape == upright.shape
    np.testing.assert_array_equal(seen, upright)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bits_become_eight(tmp_path, suffix):
    deep = np.arange(65536, step=257 * 5, dtype=np.uint16).reshape(4, -1)[:, :13]
    Image.fromarray(deep).save(tmp_path / f"a.{suffix}")
    seen = pixels(tmp_path, (None, 1, None, None))[0, 0]
    np.testing.assert_array_equal(seen, deep // 257)
    assert seen.max() > 200 and len(np.unique(seen)) == deep.size  # clipped, nearly all are 255
    np.testing.assert_array_equal(pixels(tmp_path)[0], np.stack([seen] * 3))


def test_the_byte_order_of_a_deep_tiff_does_not_matter(tmp_path):
    deep = np.array([[0, 1000, 30000, 65535]], np.uint16)
    Image.frombytes("I;16B", (4, 1), deep.astype(">u2").tobytes()).save(tmp_path / "a.tif")
    seen = pixels(tmp_path, (None, 1, None, None))[0, 0]
    np.testing.assert_array_equal(seen, np.round(deep / 257))


def test_a_deep_photo_is_turned_too(tmp_path):
    deep = np.array([[0, 257, 514], [771, 1028, 1285]], np.uint16)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.fromarray(STORED[6](deep).copy()).save(tmp_path / "a.png", exif=exif)
    seen = pixels(tmp_path, (None, 1, None, None))[0, 0]
    np.testing.assert_array_equal(seen, deep // 257)


def test_modes_of_colour(tmp_path):
    """CMYK, gray and palette become RGB; transparency is dropped, not composited."""
    (tmp_path / "rgba").mkdir()
    clear = picture(c=4)
    clear[..., 3] = 0
    Image.fromarray(clear).save(tmp_path / "rgba" / "a.png")
    np.testing.assert_array_equal(pixels(tmp_path / "rgba")[0], clear[..., :3].transpose(2, 0, 1))
    (tmp_path / "la").mkdir()
    gray = picture(c=2)
    Image.fromarray(gray, mode="LA").save(tmp_path / "la" / "a.png")
    np.testing.assert_array_equal(pixels(tmp_path / "la")[0], np.stack([gray[..., 0]] * 3))
    (tmp_path / "cmyk").mkdir()
    ink = np.zeros((6, 8, 4), np.uint8)
    ink[..., 0] = 255  # all cyan: no red
    Image.fromarray(ink, mode="CMYK").save(tmp_path / "cmyk" / "a.tif")
    assert pixels(tmp_path / "cmyk")[0].mean(axis=(1, 2)).tolist() == [0, 255, 255]


def test_files_of_other_kinds_are_counted(tmp_path):
    Image.fromarray(picture()).save(tmp_path / "a.png")
    assert opened(tmp_path).notes == (f"{tmp_path}: 1 image",)
    for name in ("b.heic", "c.HEIC", "notes", "d.gif"):
        (tmp_path / name).write_bytes(b"any")
    (note,) = opened(tmp_path).notes
    assert note.endswith(
        "1 image; 4 files are no images that are read: without a suffix (1), .gif (1), .heic (2)"
    )
    (tmp_path / "a.png").unlink()
    with pytest.raises(DataError, match=r"no images .* 4 files .* \.heic \(2\)"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("size", "to"),
    [((96, 144), (32, 48)), ((144, 96), (48, 32)), ((48, 48), (32, 32)), ((500, 49), (327, 32))],
)
def test_a_large_photo_is_resized_before_it_is_cropped(tmp_path, size, to):
    """A photo black on its left half: what is cropped shows both halves, where it is resized."""
    photo = np.full((*size, 3), 255, np.uint8)
    photo[:, : size[1] // 2] = 0
    Image.fromarray(photo).save(tmp_path / "a.png")
    data = opened(tmp_path, (1, 3, 32, 32))
    (x, _) = next(data.batches(1))
    assert x.shape == (1, 3, 32, 32) and abs(x.mean() - 127.5) < 5
    assert f"{size[0]}×{size[1]} to {to[0]}×{to[1]}" in data.notes[-1]


@pytest.mark.parametrize("preprocess", ["none;crop=32", "none;crop=model", "none;size=40"])
def test_a_stated_geometry_is_kept(tmp_path, preprocess):
    Image.fromarray(picture(96, 96)).save(tmp_path / "a.png")
    data = opened(tmp_path, (1, 3, 32, 32), preprocess)
    assert len(data.notes) == 1
    if "size" not in preprocess:
        inner = picture(96, 96)[32:64, 32:64].transpose(2, 0, 1)
        np.testing.assert_array_equal(next(data.batches(1))[0][0], inner)


def test_an_image_made_for_a_crop_is_cropped_only(tmp_path):
    Image.fromarray(picture(36, 40)).save(tmp_path / "a.png")
    data = opened(tmp_path, (1, 3, 32, 32))
    inner = picture(36, 40)[2:34, 4:36].transpose(2, 0, 1)
    np.testing.assert_array_equal(next(data.batches(1))[0][0], inner)
    assert len(data.notes) == 1


@pytest.fixture
def partly_broken(tmp_path):
    """Two classes of three images; the first is text, one is half a JPEG, one half a PNG."""
    for k in range(6):
        folder = tmp_path / "set" / "ab"[k // 3]
        folder.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(picture(64, 64, seed=k))
        image.save(folder / f"{k}.jpg" if k == 4 else folder / f"{k}.png")
    (tmp_path / "set/a/0.png").write_text("no image")
    for name in ("b/4.jpg", "b/5.png"):
        path = tmp_path / "set" / name
        path.write_bytes(path.read_bytes()[:-900])
    return tmp_path / "set"


def test_broken_images_are_skipped_and_counted(partly_broken):
    data = opened(partly_broken, skip_broken=True).sound()
    assert len(data) == data.size == 3 and data.labels.tolist() == [0, 0, 1]
    x, y = next(data.batches(9))
    assert y.tolist() == [0, 0, 1]
    for image, k in zip(x, (1, 2, 3), strict=True):
        np.testing.assert_array_equal(image, picture(64, 64, seed=k).transpose(2, 0, 1))
    assert "3 images are broken and left out" in data.notes[-1] and "0.png" in data.notes[-1]
    taken = opened(partly_broken, skip_broken=True).take(4).sound()
    assert len(taken) == 2  # of 0, 1, 3, 4


@pytest.mark.parametrize("name", ["a/0.png", "b/4.jpg", "b/5.png"])
def test_without_the_option_a_broken_image_is_refused(partly_broken, name):
    for other in ("a/0.png", "b/4.jpg", "b/5.png"):
        if other != name:
            (partly_broken / other).unlink()
    with pytest.raises(DataError, match=name) as error:
        list(opened(partly_broken).sound().batches(2))
    assert " at 0x" not in str(error.value) and "cannot be read as an image" in str(error.value)


def test_nothing_but_broken_images_is_refused(tmp_path):
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(DataError):
        opened(tmp_path, skip_broken=True).sound()
