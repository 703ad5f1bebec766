"""Halve the multiply-adds of a classifier, and draw which layers lost channels.

Run it from the repository's root: python docs/examples/classifier.py [FOLDER]
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt

import reprune_onnx as rp

MODEL, DATA, PREPROCESS = "models/digits_resnet.onnx", "models/digits.npz", "scale=1/16"
folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")

# Prune. The images need no labels; the test images are not among them.
settings = rp.Settings(
    macs_reduction=0.5,
    residual="prune",
    calibration=DATA,
    calibration_size=200,
    preprocess=PREPROCESS,
)
pruned = rp.prune(MODEL, settings)
rp.save(pruned.model, folder / "classifier-pruned.onnx")

# Measure both on the test images.
tested = rp.open_data(DATA, input_shape=(None, 1, 8, 8), preprocess=PREPROCESS)
before, after = (rp.evaluate(model, tested).top1 for model in (MODEL, pruned.model))
reduction = pruned.report["achieved"]["macs_reduction"]
print(f"{reduction:.1%} fewer multiply-adds: top-1 {before:.2f} % before, {after:.2f} % after")

# Draw the channels of every layer: all of them, and those that are kept.
layers = pruned.report["layers"]
names = [layer["node"].strip("/").removesuffix("/Conv") for layer in layers]
channels, kept = zip(*(layer["out_channels"] for layer in layers), strict=True)
figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
axes.barh(names, channels, color="#d5dadd", label="original")
axes.barh(names, kept, color="#00796b", label="kept")
axes.invert_yaxis()
axes.set_xlabel("output channels")
axes.set_title(f"{reduction:.0%} fewer multiply-adds, top-1 {before:.1f} % → {after:.1f} %")
axes.legend(loc="upper right")
figure.savefig(folder / "classifier.png", dpi=100)
