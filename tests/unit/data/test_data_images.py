"""Image folders and tars: order, labels, decoding, geometry, and files that are not images."""

import io
import os
import tarfile

import numpy as np
import pytest
from PIL import Image

from reprune_onnx.data import open_data
from reprune_onnx.data.geometry import centre_crop, resize
from reprune_onnx.errors import DataError

ANY = (None, 3, None, None)


def opened(path, shape=ANY, preprocess="none", **more):
    return open_data(str(path), preprocess=preprocess, input_shape=shape, dtype="float32", **more)


def everything(data):
    parts = list(data.batches(2))
    y = None if parts[0][1] is None else np.concatenate([y for _, y in parts])
    return np.concatenate([x for x, _ in parts]), y


def picture(seed, h=6, w=8, mode="RGB"):
    channels = {"RGB": (3,), "RGBA": (4,), "L": ()}[mode]
    return np.random.default_rng(seed).integers(0, 256, (h, w, *channels)).astype(np.uint8)


def draw(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def refused(path, *words, **more):
    with pytest.raises(DataError) as error:
        everything(opened(path, **more))
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


@pytest.fixture
def classes(tmp_path):
    """Folders b (2 images), empty c, a (1 image), and things to leave out."""
    root = tmp_path / "set"
    draw(root / "b" / "2.png", picture(2))
    draw(root / "b" / "1.ppm", picture(1))
    draw(root / "d" / "0.bmp", picture(0))
    (root / "c").mkdir()
    (root / "b" / "readme.txt").write_text("no image")
    draw(root / "b" / ".hidden.png", picture(9))
    draw(root / ".cache" / "x.png", picture(9))
    return root


def test_sub_folders_are_labels_and_an_empty_one_keeps_its_number(classes):
    data = opened(classes)
    x, y = everything(data)
    assert y.tolist() == [0, 0, 2] and data.labels.tolist() == y.tolist()
    np.testing.assert_array_equal(x[0], picture(1).transpose(2, 0, 1))
    np.testing.assert_array_equal(x[1], picture(2).transpose(2, 0, 1))
    np.testing.assert_array_equal(x[2], picture(0).transpose(2, 0, 1))
    assert everything(data.take(2))[1].tolist() == [0, 0]
    assert everything(data.take(1, np.random.default_rng(0)))[0].shape == (1, 3, 6, 8)


def test_a_flat_folder_has_no_labels(tmp_path):
    draw(tmp_path / "f" / "b.webp", picture(1))
    draw(tmp_path / "f" / "a.JPG", picture(1))
    x, y = everything(opened(tmp_path / "f", (None, None, None, 3)))
    assert x.shape == (2, 6, 8, 3) and y is None
    assert opened(tmp_path / "f").labels is None


def test_the_split_is_chosen_and_a_wrapper_left_out(tmp_path):
    for split, n in (("train", 3), ("test", 2)):
        for i in range(n):
            draw(tmp_path / "wrap" / split / f"c{i}" / "x.png", picture(i))
    assert everything(opened(tmp_path))[1].tolist() == [0, 1]
    assert everything(opened(tmp_path / "wrap", split="train"))[1].tolist() == [0, 1, 2]


def test_refusals(tmp_path, classes):
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "no images")
    draw(tmp_path / "mixed" / "a" / "1.png", picture(1))
    draw(tmp_path / "mixed" / "0.png", picture(1))
    refused(tmp_path / "mixed", "0.png", "sub-folders")
    draw(tmp_path / "deep" / "a" / "b" / "1.png", picture(1))
    draw(tmp_path / "deep" / "b" / "1.png", picture(1))
    refused(tmp_path / "deep", "a/b/1.png", "2 folders deep, not 1")
    draw(tmp_path / "deepest" / "a/b/c/d/e/f" / "1.png", picture(1))
    refused(tmp_path / "deepest", "no images")
    refused(classes, "6×8", "7×8", "size=8", shape=(1, 3, 7, 8))
    (classes / "d" / "1.png").write_bytes((classes / "b" / "2.png").read_bytes()[:60])
    refused(classes, "1.png", "cannot be read as an image")
    (classes / "d" / "1.png").write_text("not an image")
    refused(classes, "1.png", "cannot be read as an image")
    (classes / "d" / "1.png").unlink()
    Image.fromarray(np.full((6, 8), 0.5, np.float32)).save(classes / "d" / "1.tif")
    refused(classes, "1.tif", "mode F", "neither 8 nor 16 bits")


def test_images_of_several_sizes_need_a_size(tmp_path):
    draw(tmp_path / "1.png", picture(1))
    draw(tmp_path / "2.png", picture(1, 9, 8))
    refused(tmp_path, "1.png is 6×8", "2.png is 9×8", "size=")
    assert everything(opened(tmp_path, (1, 3, 4, 4)))[0].shape == (2, 3, 4, 4)
    assert everything(opened(tmp_path, ANY, "size=6;crop=5,4"))[0].shape == (2, 3, 5, 4)
    assert everything(opened(tmp_path, ANY, "size=3,2"))[0].shape == (2, 3, 3, 2)


def test_colours_follow_the_model_or_the_option(tmp_path):
    draw(tmp_path / "1.png", picture(1))
    gray = everything(opened(tmp_path, (1, 1, 6, 8)))[0]
    assert gray.shape == (1, 1, 6, 8)
    assert everything(opened(tmp_path, (1, 4, 6, 8)))[0][0, 3].min() == 255
    bgr = everything(opened(tmp_path, preprocess="none;color=bgr"))[0]
    np.testing.assert_array_equal(bgr[0], picture(1).transpose(2, 0, 1)[::-1])
    refused(tmp_path, "3 channels", "takes 1", shape=(1, 1, 6, 8), preprocess="none;color=rgb")
    np.savez(tmp_path / "x.npz", x=picture(1)[None])
    array = everything(opened(tmp_path / "x.npz", (1, 1, 6, 8), "none;color=gray"))[0]
    np.testing.assert_allclose(array, gray, atol=1)


def test_a_palette_with_transparency_is_read(tmp_path):
    image = Image.fromarray(picture(1)).convert("P")
    image.save(tmp_path / "1.png", transparency=b"\x00\x80")
    assert everything(opened(tmp_path))[0].shape == (1, 3, 6, 8)


def test_tar_is_read_in_place_and_unsafe_members_are_left_out(tmp_path, classes):
    path = tmp_path / "set.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(classes, "set")
        blob = (classes / "b" / "2.png").read_bytes()
        for name in ("../evil.png", "/abs.png", "set/b/../x.png", "set/._b.png"):
            info = tarfile.TarInfo(name)
            info.size = len(blob)
            archive.addfile(info, io.BytesIO(blob))
        link = tarfile.TarInfo("set/b/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
    before = sorted(tmp_path.rglob("*"))
    from_tar, from_folder = everything(opened(path)), everything(opened(classes))
    np.testing.assert_array_equal(from_tar[0], from_folder[0])
    np.testing.assert_array_equal(from_tar[1], from_folder[1])
    assert sorted(tmp_path.rglob("*")) == before


def test_refusals_of_tars(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"nothing of the kind" * 100)
    refused(tmp_path / "a.tar", "a.tar", "uncompressed tar")
    (tmp_path / "a.tar.gz").write_bytes(b"")
    refused(tmp_path / "a.tar.gz", "decompress")
    with tarfile.open(tmp_path / "b.tar", "w"):
        pass
    refused(tmp_path / "b.tar", "no images")


def test_imagenet_geometry(tmp_path):
    draw(tmp_path / "1.png", picture(1, 300, 400))
    shape = (1, 3, 224, 224)
    x, _ = everything(opened(tmp_path, shape, "imagenet"))
    reference = Image.fromarray(picture(1, 300, 400)).resize((341, 256), Image.Resampling.BILINEAR)
    cut = np.asarray(reference)[16:240, 58:282] / 255
    want = (cut - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(x[0], want.transpose(2, 0, 1), atol=1e-5)
    assert everything(opened(tmp_path, ANY, "imagenet"))[0].shape == shape


def test_arrays_get_geometry_only_where_they_need_it(tmp_path):
    small = picture(1, 224, 224)[None]
    np.savez(tmp_path / "x.npz", x=small)
    shape = (1, 3, 224, 224)
    x, _ = everything(opened(tmp_path / "x.npz", shape, "imagenet-bgr"))
    want = small[0, ..., ::-1] - np.array([104.0, 117.0, 123.0])
    np.testing.assert_allclose(x[0], want.transpose(2, 0, 1), atol=1e-4)
    np.savez(tmp_path / "x.npz", x=picture(1, 300, 400)[None].astype(np.float32))
    assert everything(opened(tmp_path / "x.npz", shape, "imagenet"))[0].shape == shape


def test_resize_and_crop():
    image = np.linspace(0, 1, 40, dtype=np.float64).reshape(5, 8, 1)
    assert resize(image, 10).shape == (10, 16, 1)
    assert resize(image, (2, 3)).dtype == np.float32
    assert resize(image, 5) is image
    np.testing.assert_array_equal(centre_crop(image, 3, 4, "i"), image[1:4, 2:6])
    with pytest.raises(DataError, match="5×8"):
        centre_crop(image, 6, 4, "i")


def test_a_pipe_among_images_is_refused(tmp_path):
    """To open it would wait for ever."""
    draw(tmp_path / "a.png", picture(0))
    os.mkfifo(tmp_path / "b.png")
    refused(tmp_path, "b.png", "no ordinary file")
