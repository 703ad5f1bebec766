"""Raw outputs of detectors: every family's own formula, written out box by box, undoes them."""

import numpy as np
import pytest
from numpy.typing import NDArray

from reprune_onnx.errors import ModelError, UsageError
from reprune_onnx.runtime.decoders.beside import split
from reprune_onnx.runtime.decoders.candidates import Candidates
from reprune_onnx.runtime.decoders.choose import DECODERS, decoder_for
from reprune_onnx.runtime.decoders.suppression import suppressed

SIDES = (64, 96)
STRIDES = (8, 16, 32)
CLASSES = 3
Arrays = dict[str, NDArray[np.float64]]


def grid(stride: int, each: int = 1) -> list[tuple[int, int]]:
    """(column, row) of every cell, row by row, ``each`` times."""
    rows, columns = SIDES[0] // stride, SIDES[1] // stride
    return [(c, r) for r in range(rows) for c in range(columns) for _ in range(each)]


N = sum(len(grid(s)) for s in STRIDES)


class Truth:
    """Boxes (n, 4) as x1, y1, x2, y2 and scores (n, classes), to be encoded."""

    def __init__(self, n: int, classes: int = CLASSES) -> None:
        rng = np.random.default_rng(n)
        low = rng.uniform(0, 40, (n, 2))
        self.boxes = np.concatenate([low, low + rng.uniform(2, 30, (n, 2))], axis=1)
        self.scores = rng.uniform(0.05, 0.9, (n, classes))

    @property
    def centred(self) -> NDArray[np.float64]:
        b = self.boxes
        return np.stack(
            [(b[:, 0] + b[:, 2]) / 2, (b[:, 1] + b[:, 3]) / 2, b[:, 2] - b[:, 0], b[:, 3] - b[:, 1]]
        ).T

    @property
    def shares(self) -> NDArray[np.float64]:
        return self.centred / np.array([SIDES[1], SIDES[0]] * 2)


def yolov8(t: Truth) -> Arrays:
    return {"output0": np.concatenate([t.centred, t.scores], axis=1).T}


def yolov8_masks(t: Truth) -> Arrays:
    return {
        "output0": np.concatenate([t.centred, t.scores, np.ones((len(t.boxes), 7))], axis=1).T,
        "output1": np.ones((7, 16, 24)),
    }


def yolov5(t: Truth) -> Arrays:
    return {"o": np.concatenate([t.centred, np.full((3 * N, 1), 0.5), 2 * t.scores], axis=1)}


def yolox(t: Truth) -> Arrays:
    rows = []
    places = [(c, r, s) for s in STRIDES for c, r in grid(s)]
    for (x, y, w, h), score, (c, r, s) in zip(t.centred, t.scores, places, strict=True):
        rows.append([x / s - c, y / s - r, np.log(w / s), np.log(h / s), 0.5, *(2 * score)])
    return {"output": np.array(rows)}


def yolox_decoded(t: Truth) -> Arrays:
    return {"output": np.concatenate([t.centred, np.full((N, 1), 0.5), 2 * t.scores], axis=1)}


def fastestdet(t: Truth) -> Arrays:
    """One map of stride 16; boxes around their cells, as no offset is longer than a cell."""
    places = np.array(grid(16))
    extents = t.centred[:, 2:]
    offsets = np.random.default_rng(0).uniform(-0.9, 0.9, places.shape)
    middle = (places + offsets) * 16
    t.boxes = np.concatenate([middle - extents / 2, middle + extents / 2], axis=1)
    share = extents / np.array([SIDES[1], SIDES[0]])
    objects = t.scores.sum(axis=1, keepdims=True) / 2.8
    classes = t.scores / t.scores.sum(axis=1, keepdims=True)
    t.scores = objects * classes
    rows = [objects, np.arctanh(offsets), np.log(share / (1 - share)), classes]
    return {"758": np.concatenate(rows, axis=1).T.reshape(5 + CLASSES, 4, 6)}


def end_to_end(t: Truth) -> Arrays:
    labels = t.scores.argmax(axis=1)
    t.scores = np.where(np.arange(CLASSES) == labels[:, None], t.scores, 0)
    return {"o": np.concatenate([t.boxes, t.scores.max(axis=1)[:, None], labels[:, None]], axis=1)}


def rt_detr(t: Truth) -> Arrays:
    return {"o": np.concatenate([t.shares, t.scores], axis=1)}


def detr(t: Truth) -> Arrays:
    t.scores /= 1.5 * t.scores.sum(axis=1, keepdims=True)
    p = np.concatenate([t.scores, 1 - t.scores.sum(axis=1, keepdims=True)], axis=1)
    return {"logits": np.log(p) + 3, "pred_boxes": t.shares}


def rt_detr_logits(t: Truth) -> Arrays:
    return {"pred_boxes": t.shares, "logits": np.log(t.scores / (1 - t.scores))}


def ultraface(t: Truth) -> Arrays:
    t.scores = t.scores[:, :1]
    boxes = t.boxes / np.array([SIDES[1], SIDES[0]] * 2)
    return {"scores": np.concatenate([1 - t.scores, t.scores], axis=1), "boxes": boxes}


def nanodet(t: Truth) -> Arrays:
    """Distances of whole strides: all the weight is on one bin."""
    arrays: Arrays = {}
    start, bins = 0, 8
    rng = np.random.default_rng(0)
    for s in STRIDES:
        n = len(grid(s))
        steps = rng.integers(0, bins, (n, 4))
        middle = (np.array(grid(s)) + 0.5) * s
        t.boxes[start : start + n] = np.concatenate(
            [middle - steps[:, :2] * s, middle + steps[:, 2:] * s], axis=1
        )
        logits = np.where(np.arange(bins) == steps[..., None], 60.0, 0.0)
        arrays[f"cls_{s}"] = t.scores[start : start + n]
        arrays[f"dis_{s}"] = logits.reshape(n, -1)
        start += n
    return {k: arrays[k] for k in sorted(arrays)}


def scrfd(t: Truth) -> Arrays:
    arrays: Arrays = {}
    start = 0
    for s in STRIDES:
        corner = np.array(grid(s, 2)) * s
        b = t.boxes[start : start + len(corner)]
        arrays[f"score_{s}"] = t.scores[start : start + len(corner)]
        arrays[f"bbox_{s}"] = np.concatenate([corner - b[:, :2], b[:, 2:] - corner], axis=1) / s
        arrays[f"kps_{s}"] = np.zeros((len(corner), 10))
        start += len(corner)
    order = ("score", "bbox", "kps")
    return {f"{part}_{s}": arrays[f"{part}_{s}"] for part in order for s in STRIDES}


def yunet(t: Truth) -> Arrays:
    arrays: Arrays = {}
    start = 0
    for s in STRIDES:
        n = len(grid(s))
        xywh = t.centred[start : start + n] / s
        xywh[:, :2] -= grid(s)
        xywh[:, 2:] = np.log(xywh[:, 2:])
        arrays |= {f"cls_{s}": t.scores[start : start + n] ** 2, f"obj_{s}": np.ones((n, 1))}
        arrays |= {f"bbox_{s}": xywh, f"kps_{s}": np.zeros((n, 10))}
        start += n
    order = ("cls", "obj", "bbox", "kps")
    return {f"{part}_{s}": arrays[f"{part}_{s}"] for part in order for s in STRIDES}


ENCODED = {
    "yolov8": (yolov8, N, CLASSES),
    "yolov8, masks": (yolov8_masks, N, CLASSES),
    "yolov5": (yolov5, 3 * N, CLASSES),
    "yolox": (yolox, N, CLASSES),
    "yolox, decoded": (yolox_decoded, N, CLASSES),
    "fastestdet": (fastestdet, 24, CLASSES),
    "end-to-end": (end_to_end, 50, CLASSES),
    "rt-detr": (rt_detr, 50, CLASSES),
    "detr": (detr, 50, CLASSES),
    "rt-detr-logits": (rt_detr_logits, 50, CLASSES),
    "ultraface": (ultraface, 77, CLASSES),
    "nanodet": (nanodet, N, CLASSES),
    "scrfd": (scrfd, 2 * N, 1),
    "yunet": (yunet, N, 1),
}
OPEN = {"detr": "rt-detr-logits", "rt-detr-logits": "detr"}  # nothing tells them apart


@pytest.mark.parametrize("form", ENCODED)
def test_a_family_is_told_and_undone(form: str) -> None:
    encode, n, classes = ENCODED[form]
    truth, name = Truth(n, classes), form.split(",", maxsplit=1)[0]
    outputs = split(encode(truth), SIDES, None).outputs
    fitting = {d.name for d in DECODERS.values() if d.of(outputs, SIDES)}
    assert fitting == {name, *filter(None, [OPEN.get(name)])}
    decoder = decoder_for(outputs, SIDES, name if name in OPEN else None, "the model")
    seen = decoder.decode(outputs, SIDES)
    np.testing.assert_allclose(seen.boxes, truth.boxes, atol=1e-6)
    np.testing.assert_allclose(seen.scores, truth.scores, atol=1e-9)
    assert seen.final == (name in ("end-to-end", "rt-detr", "detr", "rt-detr-logits"))


def test_every_family_is_tested() -> None:
    assert {form.split(",")[0] for form in ENCODED} == set(DECODERS)


def test_what_may_be_several_or_none_is_asked_for() -> None:
    outputs = detr(Truth(50))
    with pytest.raises(ModelError, match="may be detr or rt-detr-logits: say which with --decode"):
        decoder_for(outputs, SIDES, None, "the model")
    with pytest.raises(ModelError, match=r"'y' \[1000\]: neither boxes .*yolov8.*post-processing"):
        decoder_for({"y": np.zeros(1000)}, SIDES, None, "the model")
    with pytest.raises(ModelError, match=r"--decode yolox does not fit .*'y' \[5, 9\].*64×96"):
        decoder_for({"y": np.zeros((5, 9))}, SIDES, "yolox", "the model")
    with pytest.raises(UsageError, match="--decode yolo is unknown: give one of yolov8"):
        decoder_for(outputs, SIDES, "yolo", "the model")


def plainly(c: Candidates) -> list[tuple[float, int, tuple[float, ...]]]:
    """Suppression as it is defined: of each class the best box, without what overlaps it."""
    kept = []
    for label in range(c.scores.shape[1]):
        left = [i for i in range(len(c.boxes)) if c.scores[i, label] >= 0.001]
        left.sort(key=lambda i: -c.scores[i, label])
        while left:
            best, *left = left
            kept.append((float(c.scores[best, label]), label, tuple(c.boxes[best])))
            left = [i for i in left if overlap(c.boxes[best], c.boxes[i]) <= 0.7]
    return sorted(kept, reverse=True)[:300]


def overlap(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return float(w * h / (both - w * h))


@pytest.mark.parametrize("n", [0, 1, 400])
def test_suppression_is_class_by_class(n: int) -> None:
    truth = Truth(n)
    truth.boxes[::3] = truth.boxes[:1] + np.linspace(0, 4, len(truth.boxes[::3]))[:, None]
    truth.scores[1::5] = 0.0
    candidates = Candidates(truth.boxes - 30, truth.scores)
    boxes, labels, scores, _ = suppressed(candidates)
    wanted = plainly(candidates)
    assert len(wanted) == len(boxes) <= 300
    assert n < 100 or len(wanted) == 300 < (truth.scores > 0).sum()
    for box, label, score, (s, c, b) in zip(boxes, labels, scores, wanted, strict=True):
        assert (label, score) == (c, s) and tuple(box) == b


def test_what_is_final_is_not_suppressed() -> None:
    boxes = np.tile([[0.0, 0.0, 9.0, 9.0]], (4, 1))
    for final, n in ((True, 4), (False, 1)):
        assert len(suppressed(Candidates(boxes, np.full((4, 1), 0.5), final))[0]) == n
