"""Which part of generated images gives how much: the rows of ``accuracy.py --only ablation``.

Of each network as many images are generated as a plain prune fits to. A family alone, or the
mixture; taken of twice as many as the statistics of the file say, or the first ones; fed in the
range that was found, in the one that the network was trained with, or as 0 to 1; refined by
gradient, which needs PyTorch and a file with BatchNormalization.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from generated_ranges import affine, of_bytes
from no_images import NETWORKS, Place

import reprune_onnx as rp
from reprune_onnx.activations.evidence import is_trained
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.data.generated import FAMILIES, Recipe, families, generate

NAMES = [name for name, network in NETWORKS.items() if network.n]


def table(place: Place, names: Sequence[str]) -> Iterator[str]:
    """A Markdown row for each kind of images, with a column for each network."""
    names = [name for name in names if NETWORKS[name].given(place.lite1)]
    columns = [dict(_rows(place, name)) for name in names]
    heads = (f"{name} −{NETWORKS[name].reductions[-1]:.0%}" for name in names)
    yield f"| images | range | {' | '.join(heads)} |"
    yield "|---|---|" + "---|" * len(names)
    for kind in columns[0]:
        yield f"| {' | '.join(kind)} | {' | '.join(_cell(c[kind]) for c in columns)} |"


def _cell(top1: float | None) -> str:
    return "–" if top1 is None else f"{top1:.2f}"


def _rows(place: Place, name: str) -> Iterator[tuple[tuple[str, str], float | None]]:
    network = NETWORKS[name]
    reduction, n = network.reductions[-1], network.n
    yield ("none (`--recover data-free`)", ""), place.by_file(name, reduction)["top1"]
    mixture = _generated(place, name, "")
    size, how = mixture["generated"]["size"], mixture["generated"]["range"]["preprocess"]
    for family in dict.fromkeys(families(2)):
        yield (f"{FAMILIES[family].title}, chosen", "found"), _top1(place, name, family)
    yield ("mixture, chosen", "found"), mixture["top1"]
    right = affine(of_bytes(how)) == affine(of_bytes(network.preprocess))
    for title, way in (("given", network.preprocess), ("0–1", "scale=1/255")):
        same = right and title == "given"
        top1 = mixture["top1"] if same else _top1(place, name, "", (title, way))
        yield ("mixture, chosen", title), top1
    first = _first(place.folder / f"{name}-first.npz", n, size)
    options = ("--calibration", first, "--calibration-size", n, "--preprocess", how)
    row = place.pruned(name, reduction, "first", options)
    yield ("mixture, the first ones", "found"), row["top1"]
    graph = Graph(rp.load(network.given(place.lite1)))
    live = any(is_trained(op, graph) for op in graph.ops)
    refined = _top1(place, name, "refined") if live else None
    yield ("mixture, chosen, refined", "found"), refined
    yield ("own images", "given"), place.with_own(name, reduction)["top1"]


def _top1(place: Place, name: str, kinds: str, fed: tuple[str, str] = ("found", "")) -> float:
    return float(_generated(place, name, kinds, fed)["top1"])


def _generated(
    place: Place, name: str, kinds: str, fed: tuple[str, str] = ("found", "")
) -> dict[str, Any]:
    """The result with images of these kinds; ``fed``: the title and ``--preprocess`` of a range."""
    network, (title, how) = NETWORKS[name], fed
    options = ["--calibration", ":".join(filter(None, ("generated", kinds, str(network.n))))]
    options += ["--preprocess", how] if how else []
    way = f"{kinds or 'mixture'} {title}"
    return place.pruned(name, network.reductions[-1], way, options)


def _first(file: Path, n: int, size: Sequence[int]) -> Path:
    """The first n images that a recipe makes, as an .npz."""
    channels, *space = size
    np.savez(file, x=np.stack(list(generate(Recipe(channels, tuple(space)), n))))
    return file
