"""Detectors pruned with and without images: how far they agree with the originals.

    python tools/detectors.py -o /tmp/detectors

Public detectors of ../shared/models. Photographs of ../shared/data/imagenet_sample_256.tar, without
labels: every second one to calibrate, the others to judge by. The truth is what the original
detects with a score of 0.25 or more. Prints a Markdown table for each, which is also `NAME.md` in
the folder. Models that lie in the folder already are not made again, so a run that was stopped
goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import reprune_onnx as rp
from reprune_onnx.data.preprocess import parse_preprocess
from reprune_onnx.pipeline import prune_file
from reprune_onnx.report.files import Destination
from reprune_onnx.runtime.average_precision import AveragePrecision
from reprune_onnx.runtime.detection_agreement import SURE, DetectionTally
from reprune_onnx.runtime.detector import Detector

SHARED = ROOT.parent / "shared"
SAMPLE = SHARED / "data" / "imagenet_sample_256.tar"
REDUCTIONS = (0.2, 0.3, 0.5)
IMAGES = 256  # to calibrate


@dataclass(frozen=True)
class Public:
    """A public detector: how it takes images, and its inputs' sizes where the file leaves them."""

    preprocess: str
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    decode: str | None = None


DETECTORS = {
    "zoo_yolox_nano": Public("yolox"),
    "nanodet_m_320": Public("nanodet"),
    "rfb320": Public("ultraface"),
    "fastestdet": Public("scale=1/255;color=bgr;fit=stretch"),
    "scrfd_500m_bnkps": Public("scrfd;size=320,320", {"input.1": (1, 3, 320, 320)}),
    "yunet_n_dynamic": Public(
        "scale=1;color=bgr;fit=corner;size=320,320", {"input": (1, 3, 320, 320)}
    ),
}
WAYS: dict[str, dict[str, Any]] = {
    "images, `--method reconstruction`": {
        "residual": "prune",
        "calibration": True,
        "method": "reconstruction",
    },
    "images": {"residual": "prune", "calibration": True},
    "images, `--search 120`": {"residual": "prune", "calibration": True, "search": 120.0},
    "images, `--method reprune`": {"residual": "prune", "calibration": True, "method": "reprune"},
    "no image": {"residual": "prune"},
    "smallest filters, no repair": {
        "residual": "prune",
        "method": "l1",
        "allocation": "uniform",
        "recover": "none",
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=DETECTORS, default=list(DETECTORS))
    parser.add_argument("--ways", nargs="+", type=int, default=list(range(len(WAYS))))
    parser.add_argument("--judged", type=int, default=500, help="images to judge by")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    halves = photographs(arguments.out / "photographs")
    ways = [list(WAYS)[k] for k in arguments.ways]
    for name in arguments.only:
        text = "\n".join(measure(name, ways, halves, arguments.out, arguments.judged)) + "\n"
        (arguments.out / f"{name}.md").write_text(text, encoding="utf-8")
        print(text, flush=True)


def measure(
    name: str, ways: Sequence[str], halves: tuple[Path, Path], out: Path, judged: int
) -> Iterator[str]:
    """The lines of a detector's table: a row for each way, a column for each reduction."""
    source, public = SHARED / "models" / f"{name}.onnx", DETECTORS[name]
    made = {
        (way, share): pruned(source, public, way, share, halves[0], out)
        for way in ways
        for share in REDUCTIONS
    }
    files = {key: path for key, (path, _) in made.items() if path is not None}
    scores, objects = agreement(source, public, files, sorted(halves[1].iterdir())[:judged])
    yield f"{name}: AP50 / AP of agreement on {judged} images, with {objects} objects"
    yield ""
    yield "| | " + " | ".join(f"−{share:.0%}" for share in REDUCTIONS) + " | CPU seconds |"
    yield "|---|" + "---|" * len(REDUCTIONS) + "--:|"
    for way in ways:
        cells = [_cell(scores.get((way, s)), made[way, s][1], s) for s in REDUCTIONS]
        seconds = [said["seconds"] for _, said in (made[way, s] for s in REDUCTIONS)]
        yield f"| {way} | {' | '.join(cells)} | {min(seconds):.0f}–{max(seconds):.0f} |"


def _cell(score: AveragePrecision | None, said: dict[str, Any], asked: float) -> str:
    """AP50 and AP; the reduction that was reached, where it is another than was asked for."""
    if score is None:
        return str(said["error"])
    text = f"{score.AP50:.1f} / {score.AP:.1f}"
    reached = said["macs_reduction"]
    return text if abs(reached - asked) < 0.01 else f"{text} (−{reached:.0%})"


def pruned(
    source: Path, public: Public, way: str, share: float, images: Path, out: Path
) -> tuple[Path | None, dict[str, Any]]:
    """The pruned file and what is to be said of it; None where it cannot be made."""
    k = list(WAYS).index(way)
    path = out / f"{source.stem}-{k}-{share:g}.onnx"
    said = path.with_suffix(".json")
    if not said.exists():
        how = dict(WAYS[way])
        if how.pop("calibration", False):
            how |= {"calibration": str(images), "calibration_size": IMAGES}
        settings = rp.Settings(
            macs_reduction=share,
            preprocess=public.preprocess,
            input_shapes=public.shapes,
            **how,
        )
        start = time.process_time()
        facts: dict[str, Any] = {}
        try:
            destination = Destination.of(source, path, None, force=True, dry_run=False)
            report = prune_file(source, settings, destination).report
            facts["macs_reduction"] = report["achieved"]["macs_reduction"]
            facts["notes"] = report["notes"]
        except rp.RepruneError as error:
            facts["error"] = str(error)
        facts["seconds"] = time.process_time() - start
        said.write_text(json.dumps(facts), encoding="utf-8")
    facts = json.loads(said.read_text(encoding="utf-8"))
    return (None if "error" in facts else path), facts


def agreement(
    source: Path, public: Public, files: Mapping[Any, Path], photos: Sequence[Path]
) -> tuple[dict[Any, AveragePrecision], int]:
    """AP of each file with the detections of ``source`` as the truth, and how many these are."""
    preprocess = parse_preprocess(public.preprocess)
    original = Detector(rp.load(source), preprocess, decode=public.decode)
    detectors = {
        key: Detector(rp.load(path), preprocess, decode=public.decode)
        for key, path in files.items()
    }
    tallies = {key: DetectionTally(source.stem) for key in files}
    objects = 0
    for photo in photos:
        pixels = np.asarray(Image.open(photo).convert("RGB"))
        truth = original.detect(pixels, photo.name)
        objects += int((truth.scores >= SURE).sum())
        for key, detector in detectors.items():
            seen = detector.detect(pixels, photo.name)
            tallies[key].add(truth, seen, (pixels.shape[0], pixels.shape[1]))
    return {key: tally.score("box") for key, tally in tallies.items()}, objects


def photographs(folder: Path) -> tuple[Path, Path]:
    """The sample as two folders of files: the even ones to calibrate, the odd ones to judge by."""
    halves = folder / "calibrate", folder / "judge"
    if not folder.exists():
        for half in halves:
            half.mkdir(parents=True)
        with tarfile.open(SAMPLE) as tar:
            members = sorted((m for m in tar if m.isfile()), key=lambda m: m.name)
            for k, member in enumerate(members):
                file = tar.extractfile(member)
                assert file is not None
                target = halves[k % 2] / member.name.replace("/", "_").lstrip("._")
                target.write_bytes(file.read())
    return halves


if __name__ == "__main__":
    main()
