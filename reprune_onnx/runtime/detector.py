"""A model as a detector: one image in, boxes, labels, scores and perhaps masks out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.data.fit import fit
from reprune_onnx.data.geometry import Placement, placement, resize
from reprune_onnx.data.preprocess import Preprocess
from reprune_onnx.data.source import Raw, RawBatch
from reprune_onnx.data.target import image_target
from reprune_onnx.errors import ModelError, UsageError
from reprune_onnx.runtime.decoders.beside import (
    keypoint_shape,
    keypoints_on,
    prototype_masks,
    split,
)
from reprune_onnx.runtime.decoders.choose import decoder_for
from reprune_onnx.runtime.decoders.suppression import suppressed
from reprune_onnx.runtime.image_input import image_input
from reprune_onnx.runtime.ort import Session
from reprune_onnx.runtime.tail import head_of
from reprune_onnx.types import Bools, Floats, Ints, Model

ROLES = ("boxes", "labels", "scores", "masks")
_RANKS = {"boxes": 2, "labels": 1, "scores": 1, "masks": 3}


@dataclass(frozen=True)
class Detections:
    """The objects that were detected on one image of (h, w) pixels.

    ``boxes (d, 4)`` are x1, y1, x2, y2 in its pixels, ``labels (d,)``, ``scores (d,)``, and
    ``masks (d, h, w)`` and ``keypoints (d, k, 3)``, which are x, y and 2 where one is seen, where
    the model has them. Labels that are ``counted`` are the numbers of
    classes from 0, as raw outputs have them.
    """

    boxes: Floats
    labels: Ints
    scores: Floats
    masks: Bools | None = None
    counted: bool = False
    keypoints: Floats | None = None


class Detector:
    """A model that detects objects, with its post-processing in the file or without.

    With it the outputs are boxes (d, 4), labels (d,), scores (d,), and perhaps masks, told by these
    names or else by their form; boxes are in pixels of the model's input. Raw outputs are decoded
    (`decoder_for`), those of the family ``decode`` where it is given. A batch axis of 1 is allowed
    in front. ``input`` is the name of the images. Raises ModelError where outputs are of no known
    form.
    """

    def __init__(
        self, model: Model, preprocess: Preprocess, threads: int = 0, decode: str | None = None
    ) -> None:
        if preprocess.crop is not None:
            raise UsageError(
                "--preprocess crop would cut objects off: for detection give mean=…;std=…;size=…"
            )
        proto = head_of(model).proto
        port = image_input(proto, {})
        self._title = f"'{model.path}'" if model.path else "the model"
        shape = port.shape if len(port.shape) != 3 else (1, *port.shape)
        if len(shape) == 4 and shape[0] not in (None, 1):
            raise ModelError(
                f"{self._title} takes batches of {shape[0]}, but detections are counted image by"
                " image: export it with a batch of 1"
            )
        self._alone = len(port.shape) == 3
        self.input = port.name
        self._target = image_target(shape, port.dtype)
        sides = (self._target.height, self._target.width)
        fixed = None if None in sides else (sides[0] or 0, sides[1] or 0)
        self._how = replace(preprocess, size=fixed or preprocess.size, layout="nhwc")
        self._session = Session(proto, optimize=True, threads=threads)
        self._decode = decode
        self._keypoints = keypoint_shape(model.proto)

    def detect(self, image: Raw, name: str) -> Detections:
        """Detect the objects on an image (h, w, 3) uint8; messages call the image ``name``."""
        h, w = image.shape[:2]
        x = fit(RawBatch(image[None], None, (name,)), self._how, self._target, name)
        return self._on(x, placement(h, w, self.sides(x), self._how.fit or "stretch"), (h, w))

    def detect_fed(self, x: NDArray[np.generic]) -> Detections:
        """The objects on an image (1, …) that is the model's input as it is, in pixels of that."""
        sides = self.sides(x)
        return self._on(x, Placement(*sides, 0, 0), sides)

    def _on(self, x: NDArray[np.generic], at: Placement, size: tuple[int, int]) -> Detections:
        """The objects on the image of ``size`` that lies ``at`` a place of the input x."""
        outputs = self._session.run({self.input: x[0] if self._alone else x})
        roles = self._roles(outputs) if self._decode is None else None
        sides = self.sides(x)
        if roles is None:
            return self._decoded(outputs, sides, at, size)
        masks = roles.get("masks")
        return Detections(
            _back(roles["boxes"].astype(np.float64), at, size),
            roles["labels"].astype(np.int64),
            roles["scores"].astype(np.float64),
            None if masks is None else _masks(masks, sides, at, size),
        )

    def sides(self, x: NDArray[np.generic]) -> tuple[int, int]:
        """Height and width of an input (1, …)."""
        h, w = x.shape[2:] if self._target.layout == "nchw" else x.shape[1:3]
        return h, w

    def _decoded(
        self,
        outputs: dict[str, NDArray[Any]],
        sides: tuple[int, int],
        at: Placement,
        size: tuple[int, int],
    ) -> Detections:
        """The objects in raw outputs, on the image of ``size`` that lies ``at`` a place of it."""
        bare = {
            name: value[0] if value.ndim > 1 and value.shape[0] == 1 else value
            for name, value in outputs.items()
        }
        parts = split(bare, sides, self._keypoints)
        decoder = decoder_for(parts.outputs, sides, self._decode, self._title)
        boxes, labels, scores, rows = suppressed(decoder.decode(parts.outputs, sides))
        boxes = _back(boxes, at, size)
        seen = Detections(boxes, labels, scores, counted=True)
        if parts.more is None:
            return seen
        if parts.prototypes is not None:
            place = at, sides, size
            masks = prototype_masks(parts.more[rows], parts.prototypes, boxes, place)
            return replace(seen, masks=masks)
        assert self._keypoints is not None
        points = keypoints_on(parts.more[rows], self._keypoints)
        corners = np.concatenate([points[..., :2]] * 2, axis=2).reshape(-1, 4)
        points[..., :2] = _back(corners, at, size)[:, :2].reshape(*points.shape[:2], 2)
        return replace(seen, keypoints=points)

    def _roles(self, outputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]] | None:
        """The outputs by role, without axes of extent 1 around them; None where they are raw."""
        roles = {
            role: _bare(outputs[name], _RANKS[role])
            for role in ROLES
            for name in outputs
            if name.lower() == role
        }
        for name, value in outputs.items():
            role = _role(value)
            if role is not None and name.lower() not in ROLES and role not in roles:
                roles[role] = _bare(value, _RANKS[role])
        d = len(roles.get("boxes", ()))
        fits = all(role in roles and len(roles[role]) == d for role in ROLES[:3])
        return roles if fits and roles["boxes"].shape[1:] == (4,) else None


def _back(boxes: Floats, at: Placement, size: tuple[int, int]) -> Floats:
    """Boxes (d, 4) on the model's input, as on the image of ``size`` that lies there."""
    scale = np.array([size[1] / at.width, size[0] / at.height] * 2)
    result: Floats = (boxes - np.array([at.left, at.top] * 2)) * scale
    return result


def _bare(value: NDArray[Any], rank: int) -> NDArray[Any]:
    """Without a batch axis of 1 in front; of masks without the channel axis too."""
    if value.ndim > rank and value.shape[0] == 1 and rank < 3:
        value = value[0]
    if rank == 3 and value.ndim == 5:
        value = value[0]
    return value[:, 0] if rank == 3 and value.ndim == 4 else value


def _role(value: NDArray[Any]) -> str | None:
    """The role of an output of this form."""
    bare = value[0] if value.ndim > 1 and value.shape[0] == 1 else value
    if value.dtype.kind == "f" and value.shape[-1:] == (4,) and value.ndim in (2, 3):
        return "boxes"
    if value.dtype.kind == "f" and value.ndim >= 4:
        return "masks"
    if bare.ndim == 1:
        return "labels" if value.dtype.kind in "iu" else "scores"
    return None


def _masks(
    values: NDArray[Any], sides: tuple[int, int], at: Placement, size: tuple[int, int]
) -> Bools:
    """Probabilities (d, ·, ·) on the model's input as masks (d, h, w) on the image placed there."""
    if values.shape[1:] == size == sides:
        return np.asarray(values >= 0.5)
    shown = slice(at.top, at.top + at.height), slice(at.left, at.left + at.width)
    planes = (v[..., None].astype(np.float32) for v in values)
    if sides != (at.height, at.width):
        planes = (resize(plane, sides)[shown] for plane in planes)
    shares = np.array([resize(plane, size)[..., 0] for plane in planes], dtype=np.float32)
    return np.asarray(shares.reshape(-1, *size) >= 0.5)
