"""Which part of generated images gives how much: the rows of ``accuracy.py --only ablation``.

Of each network as many images are generated as a plain prune fits to. A family alone, or the
mixture; taken of twice as many as the statistics of the file say, or the first ones; fed in the
range that was found, or in the one that the network was trained with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from no_images import NETWORKS, Place

from reprune_onnx.data.generated import FAMILIES, Recipe, families, generate

_MIXTURE = "+".join(dict.fromkeys(families(2)))
NAMES = [name for name, network in NETWORKS.items() if network.n]


def table(place: Place, names: Sequence[str]) -> Iterator[str]:
    """A Markdown row for each kind of images, with a column for each network."""
    names = [name for name in names if NETWORKS[name].file(place.lite1)]
    columns = [dict(_rows(place, name)) for name in names]
    heads = (f"{name} −{NETWORKS[name].reductions[-1]:.0%}" for name in names)
    yield f"| images | range | {' | '.join(heads)} |"
    yield "|---|---|" + "---|" * len(names)
    for kind in columns[0]:
        yield f"| {' | '.join(kind)} | {' | '.join(f'{c[kind]:.2f}' for c in columns)} |"


def _rows(place: Place, name: str) -> Iterator[tuple[tuple[str, str], float]]:
    network = NETWORKS[name]
    reduction, n = network.reductions[-1], network.n
    yield ("none (`--recover data-free`)", ""), place.by_file(name, reduction)["top1"]
    mixture = _generated(place, name, _MIXTURE, n)
    size, how = mixture["generated"]["size"], mixture["generated"]["range"]["preprocess"]
    for family in dict.fromkeys(families(2)):
        title = FAMILIES[family].title
        yield (f"{title}, chosen", "found"), _generated(place, name, family, n)["top1"]
    yield ("mixture, chosen", "found"), mixture["top1"]
    given = _generated(place, name, _MIXTURE, n, network.preprocess)
    yield ("mixture, chosen", "given"), given["top1"]
    first = _first(place.folder / f"{name}-first.npz", n, size)
    for title, way in (("found", how), ("given", network.preprocess)):
        options = ("--calibration", first, "--calibration-size", n, "--preprocess", way)
        row = place.pruned(name, reduction, f"first {title}", options)
        yield ("mixture, the first ones", title), row["top1"]
    yield ("own images", "given"), place.with_own(name, reduction)["top1"]


def _generated(place: Place, name: str, kinds: str, n: int, preprocess: str | None = None) -> Any:
    options = ["--calibration", f"generated:{kinds}:{n}"]
    if preprocess is not None:
        options += ["--preprocess", preprocess]
    way = f"{kinds} {'found' if preprocess is None else 'given'}"
    return place.pruned(name, NETWORKS[name].reductions[-1], way, options)


def _first(file: Path, n: int, size: Sequence[int]) -> Path:
    """The first n images that a recipe makes, as an .npz."""
    channels, *space = size
    np.savez(file, x=np.stack(list(generate(Recipe(channels, tuple(space)), n))))
    return file
