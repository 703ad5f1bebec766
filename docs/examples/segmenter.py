"""Take 30 % of the multiply-adds from a segmentation network, and draw its masks before and after.

Run it from the repository's root: python docs/examples/segmenter.py [FOLDER]
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import onnxruntime

import reprune_onnx as rp

MODEL, DATA = "models/scenes_segmenter.onnx", "models/scenes.npz"
folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")

# Prune. Calibration reads the array x_train of the file; masks are not needed.
settings = rp.Settings(macs_reduction=0.3, residual="prune", calibration=DATA)
pruned = rp.prune(MODEL, settings)
out = folder / "segmenter-pruned.onnx"
rp.save(pruned.model, out)

# Measure both on the test images and their masks.
tested = f"{DATA}:x,masks"
before, after = (
    rp.evaluate_task(model, tested, "semantic-segmentation").scores["mean_iou"]
    for model in (MODEL, out)
)
reduction = pruned.report["achieved"]["macs_reduction"]
print(f"{reduction:.1%} fewer multiply-adds: mean IoU {before:.1f} % before, {after:.1f} % after")


def segment(path, images):
    """Return the class of every pixel, (N, h, w), of images (N, 1, h, w) of bytes."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {"input": images.astype(np.float32) / 255})
    return scores.argmax(axis=1)


# Draw some images, their masks as drawn by hand, and as both networks see them.
with np.load(DATA) as arrays:
    images, masks = arrays["x"][:6], arrays["masks"][:6]
rows = {
    "image": images[:, 0],
    "true mask": masks,
    f"original\nmean IoU {before:.1f} %": segment(MODEL, images),
    f"pruned by {reduction:.0%}\nmean IoU {after:.1f} %": segment(out, images),
}
figure, axes = plt.subplots(len(rows), len(images), figsize=(9, 6.4), layout="constrained")
for line, (title, pictures) in zip(axes, rows.items(), strict=True):
    line[0].set_ylabel(title)
    for axis, picture in zip(line, pictures, strict=True):
        look = {"cmap": "gray"} if title == "image" else {"cmap": "nipy_spectral", "vmax": 11}
        axis.imshow(picture, **look, vmin=0, interpolation="nearest")
        axis.set(xticks=[], yticks=[])
figure.savefig(folder / "segmenter.png", dpi=100)
