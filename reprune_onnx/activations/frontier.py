"""A network run in stretches, over more images the deeper it gets.

An early layer has many positions in every image, so that few images show what it does; a late one
needs all of them. Between two steps only the frontier is held: what later steps read of what was
computed, for the images that have come so far, large tensors in float16 (`half`). Images that come
later run from the input to the frontier in one go, with the weights of the time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from threading import Lock
from typing import Any

from numpy.typing import NDArray

from reprune_onnx.activations.half import halved, is_finite, saturated
from reprune_onnx.activations.linear import Linear
from reprune_onnx.activations.store import Store
from reprune_onnx.activations.stretch import Arrays, Kind, Parts, Stretch
from reprune_onnx.memory import give_back
from reprune_onnx.runtime.ort import Use
from reprune_onnx.types import Floats, Model


class Frontier:
    """The tensors that are asked for in ``steps``, one step after the other, batch by batch.

    Step k looks at the first ``counts[k]`` batches of ``images``, the inputs of every batch. Each
    node runs once per image (but sequences are made anew for every step that reads them), unless
    counts grow again after they fell: then what was dropped is computed from the input again. A
    weight may be changed (`change`) until the step begins whose nodes read it.
    """

    def __init__(
        self,
        model: Model,
        images: Sequence[Arrays],
        steps: Sequence[Collection[str]],
        counts: Sequence[int],
        store: Store,
    ) -> None:
        self._parts = Parts(model)
        self._images, self._store = images, store
        self._given = {
            name: Kind.of([feeds[name].shape for feeds in images], array)
            for name, array in images[0].items()
        }
        self._steps, self._counts = [set(names) for names in steps], counts
        self._nodes = self._plan()
        self._step = -1
        self._held = 0  # the batches that the frontier is held for
        self._needed: set[str] = set()  # what this step and later ones read of earlier ones
        self._live: set[str] = set()  # what later steps read of this one and of earlier ones
        self._halves: set[str] = set()  # what is held in float16
        self._use: Use = "one of many"
        self._lock = Lock()

    @property
    def batches(self) -> int:
        """The number of batches that this step looks at."""
        return self._counts[self._step]

    def advance(self) -> None:
        """Begin the next step, whose tensors `compute` returns."""
        before = self.batches if self._step >= 0 else 0
        self._step += 1
        self._needed, self._live = self._live, self._read_after(self._step)
        self._held = min(before, self.batches)
        self._store.keep(self._needed, self._held)
        give_back()
        self._kinds = self._kinds_held()
        self._load()
        self._first = self._begun()

    def compute(self, b: int) -> Arrays:
        """Return the tensors of this step in batch ``b``; to be called once for each batch.

        What later steps read is put aside, what they do not read is forgotten.
        """
        known = self._known(b)
        seen, kept = self._run(b, known) if b else self._first
        for name in self._needed - self._live:
            self._store.drop(name, b)
        for name, array in kept.items():
            self._store.put(name, b, array)
        known |= seen
        return {name: known[name] for name in self._steps[self._step]}

    def change(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Give initializers other values, for the steps that have not begun yet."""
        self._parts.change(weights)

    def rescale(self, layer: Linear, scale: Floats, shift: Floats) -> None:
        """Let the outputs of a layer that has just run be scale·y + shift, (n_out,) each."""
        name = layer.op.outputs[0]
        shape = (-1, *[1] * layer.trailing)
        for b in range(self.batches if name in self._live else 0):
            y = self._store.get(name, b)
            rescaled = y * scale.reshape(shape) + shift.reshape(shape)
            self._store.put(name, b, rescaled.astype(y.dtype))

    # ── which nodes, and what stays ─────────────────────────────────────────────────────────

    def _plan(self) -> list[list[int]]:
        """The nodes that each step runs, in graph order."""
        done: set[int] = set()
        plan = []
        for names in self._steps:
            nodes = self._parts.before(names, done)
            done |= {i for i in nodes if self._parts.makes_arrays(i)}
            plan.append(sorted(nodes))
        return plan

    def _read_after(self, k: int) -> set[str]:
        """The arrays that the steps after k read, of those that the steps up to k make."""
        later = self._parts.read([i for nodes in self._nodes[k + 1 :] for i in nodes])
        later |= {name for names in self._steps[k + 1 :] for name in names}
        return later & self._parts.made(self._until(k))

    def _until(self, k: int) -> list[int]:
        """The nodes that the steps up to k run, in graph order."""
        return sorted({i for nodes in self._nodes[: k + 1] for i in nodes})

    # ── running ─────────────────────────────────────────────────────────────────────────────

    def _known(self, b: int) -> Arrays:
        """The images of a batch, and what is held of it."""
        held = self._needed if b < self._held else ()
        return self._images[b] | {name: self._store.get(name, b) for name in held}

    def _stretch(self, b: int) -> Stretch | None:
        """The model of this step for batch ``b``: from the frontier, or from the input."""
        asked = self._steps[self._step]
        known = self._given | (self._kinds if b < self._held else {})
        return self._parts.stretch(self._way(b), known, asked, self._live, self._halves, self._use)

    def _kinds_held(self) -> dict[str, Kind]:
        """The types of what is held, before this step runs."""
        batches = range(self._held)
        return {
            name: Kind.of([self._store.shape(name, b) for b in batches], self._store.get(name, 0))
            for name in (self._needed if batches else ())
        }

    def _way(self, b: int) -> list[int]:
        """The nodes that this step runs for batch ``b``."""
        return self._nodes[self._step] if b < self._held else self._until(self._step)

    def _load(self) -> None:
        """Make the stretches of this step."""
        self._onward = self._afresh = self._stretch(0)
        if 0 < self._held < self.batches:
            self._afresh = self._stretch(self._held)

    def _begun(self) -> tuple[Arrays, Arrays]:
        """The tensors of the first batch, by which it is chosen which are held in float16."""
        seen, kept = self._made(0, self._known(0))
        new = self._parts.made(self._nodes[self._step]) & kept.keys()
        new = halved({name: kept[name] for name in new}, max(self._counts[self._step :]))
        if new:
            self._halves |= new
            self._load()
        return seen, kept | {name: saturated(kept[name]) for name in new}

    def _run(self, b: int, known: Arrays) -> tuple[Arrays, Arrays]:
        """The tensors of batch ``b``; values too large for float16 become its largest one."""
        seen, kept = self._made(b, known)
        over = {name for name in kept.keys() & self._halves if not is_finite(kept[name])}
        if not over:
            return seen, kept
        kinds = {name: Kind(array.dtype, array.shape) for name, array in known.items()}
        exact = self._parts.stretch(self._way(b), kinds, over, (), self._halves, self._use)
        assert exact is not None  # it makes what is too large
        made, _ = exact.run(known)
        kept |= {name: saturated(array) for name, array in made.items()}
        return seen, kept

    def _made(self, b: int, known: Arrays) -> tuple[Arrays, Arrays]:
        """The tensors of batch ``b``; its session is alone where others leave no room."""
        use = self._use
        stretch = self._onward if b < self._held else self._afresh
        if stretch is None:
            return {}, {}
        try:
            return stretch.run(known)
        except MemoryError:
            if use == "alone":
                raise
        with self._lock:
            if self._use == use:
                self._use = "alone"
                self._load()
        return self._made(b, known)
