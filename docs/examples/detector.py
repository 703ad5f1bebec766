"""Take 30 % of the multiply-adds from a detector, and draw its boxes before and after.

Run it from the repository's root: python docs/examples/detector.py [FOLDER]
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import onnxruntime

import reprune_onnx as rp

MODEL, DATA = "models/scenes_detector.onnx", "models/scenes.npz"
SURE = 0.4  # boxes of a lower score are not drawn
folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")

# Prune. Non-maximum suppression is in the file; calibration reads the array x_train.
pruned = rp.prune(MODEL, rp.Settings(macs_reduction=0.3, residual="prune", calibration=DATA))
out = folder / "detector-pruned.onnx"
rp.save(pruned.model, out)
reduction = pruned.report["achieved"]["macs_reduction"]


def detect(path, images):
    """Return boxes, labels and scores on each of the images (N, 1, h, w) of bytes."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return [session.run(None, {"input": x[None].astype(np.float32) / 255}) for x in images]


def hits(detections, boxes, digits):
    """Return the percentage of the digits that are told, in a box of IoU 0.5 or more."""
    told = []
    for (corners, labels, scores), box, digit in zip(detections, boxes, digits, strict=True):
        low = np.maximum(corners[:, None, :2], box[:, :2])  # detections × true boxes
        high = np.minimum(corners[:, None, 2:], box[:, 2:])
        common = (high - low).clip(0).prod(axis=-1)
        areas = (corners[:, 2:] - corners[:, :2]).prod(axis=-1)[:, None]
        iou = common / (areas + (box[:, 2:] - box[:, :2]).prod(axis=-1) - common)
        right = (iou >= 0.5) & (labels[:, None] == digit + 1) & (scores[:, None] >= SURE)
        told.append(right.any(axis=0))
    return 100 * np.mean(told)


# Measure both on the test images, then draw their boxes on some of them.
with np.load(DATA) as arrays:
    images, boxes, digits = arrays["x"], arrays["boxes"], arrays["digits"]
seen = {"original": detect(MODEL, images), f"{reduction:.0%} fewer MACs": detect(out, images)}
shares = {title: hits(detections, boxes, digits) for title, detections in seen.items()}
before, after = shares.values()
print(f"{reduction:.1%} fewer multiply-adds: {before:.1f} % of digits before, {after:.1f} % after")
figure, axes = plt.subplots(2, 5, figsize=(10, 4.4), layout="constrained")
for line, (title, detections) in zip(axes, seen.items(), strict=True):
    line[0].set_ylabel(f"{title}\n{shares[title]:.1f} % of digits")
    for axis, image, (corners, labels, scores) in zip(line, images, detections, strict=False):
        axis.imshow(image[0], cmap="gray")
        axis.set(xticks=[], yticks=[])
        sure = scores >= SURE
        for (x1, y1, x2, y2), label in zip(corners[sure], labels[sure], strict=True):
            axis.add_patch(plt.Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, color="#1de9b6"))
            axis.text(x1, y1, str(label - 1), color="#1de9b6", va="bottom")
figure.savefig(folder / "detector.png", dpi=100)
