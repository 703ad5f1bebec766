"""The options on which images are read, and how, as several commands declare them."""

from __future__ import annotations

from pathlib import Path

from reprune_onnx.options import Option

CALIBRATION = Option(
    "Images, labels not needed: FILE.npz, FILE.npy, a folder, a .tar or package.module:function;"
    " or generated[:refined][:N], which makes N images by formula.",
    "DATA",
    words=str | None,
)
PREPROCESS = Option(
    "Way from an image to the model's input: imagenet, imagenet-bgr, cifar10, none; for detectors"
    " ultralytics, yolox, rt-detr, nanodet, scrfd, ultraface; or values such as"
    " 'mean=0.5;std=0.5;size=256;crop=224' (also scale, color, layout, fit, fill). Default: bytes"
    " become 0 to 1, floats stay.",
    "NAME|SPEC",
)
CLASSES = Option(
    "Names of the classes in the order of the model's outputs, for labels that are sub-folders:"
    " one per line, JSON or YAML. Default: the names in the model's metadata, else the sub-folders"
    " in sorted order, numbers by value.",
    "FILE",
    words=Path | None,
)
SKIP_BROKEN = Option(
    "Leave out images that cannot be decoded, and count them; without it they end the command."
)
DECODE = Option(
    "Family of a detector's raw outputs, needed where their shapes fit several: yolov8, yolov5,"
    " yolox, fastestdet, end-to-end, rt-detr, detr, rt-detr-logits, ultraface, nanodet, scrfd,"
    " yunet.",
    "NAME",
)
