"""Fit raw batches to a model's input: layout, size, colours, values and type, in this order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.data.geometry import centre_crop, placed, resize
from reprune_onnx.data.preprocess import Preprocess
from reprune_onnx.data.source import Answers, Raw, RawBatch
from reprune_onnx.data.target import ImageTarget
from reprune_onnx.errors import DataError
from reprune_onnx.shapes import IMAGE_CHANNELS, IMAGE_SIDE, Layout

_MUCH_LARGER = 1.5
_GRAY = np.array([0.299, 0.587, 0.114])  # luma of R, G, B (ITU-R BT.601, as Pillow's "L")


def fit(batch: RawBatch, how: Preprocess, target: ImageTarget, source: str) -> Raw:
    """Return the batch as the model's input wants it; DataError naming ``source`` if it cannot be.

    * Image files are resized, then cropped to ``how.crop``, by default to the model's size. Where
      ``how`` says neither, those much larger than the model's size are resized to cover it first.
    * Arrays must have the model's size, or ``how`` must say how they get it.
    """
    if isinstance(batch.x, dict):
        raise DataError(
            f"{source}: arrays {', '.join(batch.x)}, but the model takes images {target}; give them"
            " as one array"
        )
    if isinstance(batch.x, np.ndarray):
        x = _sized_array(batch, how, target, source)
    else:
        x = _sized_images(batch, how, target, source)
    if not target.takes(*x.shape[1:3]):
        raise DataError(
            f"{source}: images of {x.shape[1]}×{x.shape[2]}, but the model takes {target}; "
            "give --preprocess size=… and crop=…, or a model of that size"
        )
    with np.errstate(over="ignore", invalid="ignore"):  # told by the check below
        values = _values(x, how.resolve(x.dtype, target.dtype), target, source)
        if target.layout == "nchw":
            values = values.transpose(0, 3, 1, 2)
        result = np.ascontiguousarray(values.astype(target.dtype))
    if result.dtype.kind == "f":
        bad = np.flatnonzero(~np.isfinite(result).reshape(len(result), -1).all(axis=1))
        if len(bad):
            raise DataError(
                f"{batch.names[bad[0]]}: NaN or infinite values as {target.dtype}; "
                "remove the image or correct its values"
            )
    return result


def _sized_array(batch: RawBatch, how: Preprocess, target: ImageTarget, source: str) -> Raw:
    """Return an array batch as (b, h, w, c), resized and cropped where ``how`` says so."""
    x = np.asarray(batch.x)
    target.check_rank(x.shape, source)
    integers = x.dtype.kind in "iub" and target.dtype.kind in "iub"
    if not integers and x.dtype != np.uint8 and x.dtype.kind != "f":
        raise DataError(
            f"{source}: an array of type {x.dtype}; convert it to uint8 (0–255) or float"
        )
    if array_layout(x.shape, how, target, source) == "nchw":
        x = x.transpose(0, 2, 3, 1)
    if how.fit is not None:
        return np.stack([_whole(x[i], how, target, name) for i, name in enumerate(batch.names)])
    crop = _crop(how, target)
    if (how.size is None and crop is None) or x.shape[1:3] == (crop or how.size):
        return x
    return np.stack([_geometry(x[i], how, crop, name) for i, name in enumerate(batch.names)])


def _sized_images(batch: RawBatch, how: Preprocess, target: ImageTarget, source: str) -> Raw:
    """Return decoded images as (b, h, w, c) uint8 of one size."""
    images: list[Raw] = []
    for image, name in zip(batch.x, batch.names, strict=True):
        images.append(_fitted_image(image, how, target, name))
        if images[-1].shape != images[0].shape:
            raise DataError(
                f"{source}: {batch.names[0]} is {images[0].shape[0]}×{images[0].shape[1]} but "
                f"{name} is {images[-1].shape[0]}×{images[-1].shape[1]}, and the model leaves the "
                "size open; give --preprocess size=…;crop=…"
            )
    return np.stack(images)


def _fitted_image(
    image: Raw, how: Preprocess, target: ImageTarget, name: str, mask: bool = False
) -> Raw:
    """Return a decoded image, or its mask, resized and cropped."""
    if how.fit is not None:
        return _whole(image, how, target, name)
    h, w = image.shape[:2]
    crop = _crop(how, target)
    if crop is None and how.size is None:
        crop = (target.height or h, target.width or w)
    elif crop is None and target.height and target.width:
        crop = (target.height, target.width)
    cover = covering(h, w, how, target)
    image = image if cover is None else resize(image, cover, nearest=mask)
    return _geometry(image, how, crop, name, mask)


def fit_masks(batch: RawBatch, how: Preprocess, target: ImageTarget, source: str) -> Answers | None:
    """Return what belongs to the images of a batch, (b, …): masks as the images were fitted.

    The masks of image files, and those of arrays that are resized or cropped, go the way of their
    images; of other arrays they may have any size. Other labels stay as they are.
    """
    if batch.y is None or (isinstance(batch.y, np.ndarray) and batch.y.ndim != 3):
        return batch.y
    if how.fit is not None:
        raise DataError(
            f"{source}: --preprocess fit={how.fit} is of detectors, and masks do not follow it;"
            " give size=… and crop=…"
        )
    if isinstance(batch.x, np.ndarray):
        nchw = array_layout(batch.x.shape, how, target, source) == "nchw"
        size = batch.x.shape[2:] if nchw else batch.x.shape[1:3]
        crop = _crop(how, target)
        y = np.asarray(batch.y)
        if (how.size is None and crop is None) or size == (crop or how.size):
            return y
        if y.shape[1:] != size:
            raise DataError(
                f"{source}: masks of {y.shape[1]}×{y.shape[2]}, images of {size[0]}×{size[1]}, and"
                " --preprocess resizes these; give masks of the images' size"
            )
        fitted = [_geometry(m[..., None], how, crop, name, True) for m, name in _named(y, batch)]
        return np.stack(fitted)[..., 0]
    fitted = [
        _fitted_image(m[..., None], how, target, name, True) for m, name in _named(batch.y, batch)
    ]
    return np.stack(fitted)[..., 0]


def _named(masks: Iterable[Answers], batch: RawBatch) -> Iterator[tuple[Answers, str]]:
    return zip(masks, batch.names, strict=True)


def covering(h: int, w: int, how: Preprocess, target: ImageTarget) -> tuple[int, int] | None:
    """Return the size that an h×w image file is resized to before it is cropped to the model's.

    It is the least that covers the model's size in the image's proportions. None, and no resizing,
    where ``how`` has a size, a crop or a fit, where the model leaves its size open, or where the
    image is less than 1.5 times as large: images prepared for a crop, such as 256×256 for 224×224,
    are.
    """
    if {how.size, how.crop, how.fit} != {None} or not (target.height and target.width):
        return None
    times = min(h / target.height, w / target.width)
    if times < _MUCH_LARGER:
        return None
    return max(round(h / times), target.height), max(round(w / times), target.width)


def _whole(image: Raw, how: Preprocess, target: ImageTarget, name: str) -> Raw:
    """The whole image at the model's size, as ``how.fit`` says."""
    assert how.fit is not None
    size = (how.size, how.size) if isinstance(how.size, int) else how.size or (None, None)
    height, width = target.height or size[0], target.width or size[1]
    if height is None or width is None:
        raise DataError(
            f"{name}: the model leaves its size open, so --preprocess fit={how.fit} needs one:"
            " add size=H,W"
        )
    return placed(image, (height, width), how.fit, how.fill)


def _crop(how: Preprocess, target: ImageTarget) -> tuple[int, int] | None:
    if how.crop == "model":
        return target.height or IMAGE_SIDE, target.width or IMAGE_SIDE
    return how.crop


def _geometry(
    image: Raw, how: Preprocess, crop: tuple[int, int] | None, name: str, mask: bool = False
) -> Raw:
    if how.size is not None:
        image = resize(image, how.size, nearest=mask)
    return centre_crop(image, *crop, name) if crop is not None else image


def array_layout(
    shape: tuple[int, ...], how: Preprocess, target: ImageTarget, source: str
) -> Layout:
    """Return the layout of a data array (N, ·, ·, ·): stated by ``how``, or else detected.

    The channel axis is the one whose extent is the number of channels asked for. Where both are, it
    is the one that leaves the model's height and width; DataError where that decides nothing.
    """
    if how.layout is not None:
        return how.layout
    if how.color in ("gray", "bgr"):
        channels: tuple[int, ...] = (1, 3) if how.color == "gray" else (3,)
    else:
        channels = (target.channels,) if target.channels else IMAGE_CHANNELS
    sizes: dict[Layout, tuple[int, int]] = {}
    if shape[1] in channels:
        sizes["nchw"] = (shape[2], shape[3])
    if shape[3] in channels:
        sizes["nhwc"] = (shape[1], shape[2])
    if not sizes and target.channels is None and how.color is None:
        return target.layout  # any number of channels goes in
    if not sizes:
        raise DataError(
            f"{source}: images of shape {shape[1:]} have no axis of"
            f" {' or '.join(map(str, channels))} channels, first or last, but the model takes"
            f" {target}; give images with the model's channels"
        )
    if len(sizes) == 2:
        sized = target.height is not None or target.width is not None
        fitting = [layout for layout, size in sizes.items() if sized and target.takes(*size)]
        if len(fitting) != 1:
            raise DataError(
                f"{source}: images of shape {shape[1:]} may be NCHW or NHWC; "
                "add layout=nchw or layout=nhwc to --preprocess"
            )
        return fitting[0]
    return next(iter(sizes))


def _values(x: Raw, how: Preprocess, target: ImageTarget, source: str) -> NDArray[np.floating]:
    """Return (raw * scale - mean) / std of (b, h, w, c), with the colours that ``how`` asks for."""
    exact = target.dtype == np.float64 or target.dtype.kind in "iu"
    work = np.float64 if exact else np.float32
    v = x.astype(work)
    if how.color == "gray" and v.shape[3] == 3:
        v = (v @ _GRAY.astype(work))[..., None]
    elif how.color == "bgr" and v.shape[3] == 3:
        v = v[..., ::-1]
    c = v.shape[3]
    if target.channels not in (None, c):
        raise DataError(
            f"{source}: {c} channels, but the model takes {target.channels}; give images with the "
            "model's channels, or color=gray or rgb in --preprocess"
        )
    for key, given in (("mean", how.mean), ("std", how.std)):
        if len(given) not in (0, 1, c):
            raise DataError(
                f"{source}: {c} channels, but --preprocess has {len(given)} values of {key}; "
                "give one per channel"
            )
    if how.scale not in (None, 1.0):
        v = v * work(how.scale or 1.0)
    if how.mean:
        v = v - np.array(how.mean, work)
    if how.std:
        v = v / np.array(how.std, work)
    return v
