"""A model that takes samples in batches of any size, whatever batch its file was made for."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray

from reprune_onnx.analyzer.op_kinds import RESIZING, SAME_ELEMENTS
from reprune_onnx.data.source import Feed, rows
from reprune_onnx.data.target import DataInput
from reprune_onnx.errors import DataError, ModelError
from reprune_onnx.runtime.image_input import data_inputs
from reprune_onnx.runtime.ort import Session
from reprune_onnx.runtime.output_layout import layout_of
from reprune_onnx.runtime.tail import head_of
from reprune_onnx.shapes import Layout
from reprune_onnx.types import Model

_COPIES = SAME_ELEMENTS | RESIZING | {"Gather", "Slice", "Split"}

Feeds = dict[str, NDArray[np.generic]]
Outputs = dict[str, NDArray[np.generic]]


class Predictor:
    """Runs a model on images, or on what else its inputs take.

    ``title`` is what messages call a model that comes from no file. ``batch`` is the static batch
    size, if there is one: the file's, or 1 where the first batch fails and single images do not, as
    with a Reshape to a fixed batch behind a symbolic input.
    """

    def __init__(self, model: Model, title: str, threads: int) -> None:
        self.title = f"'{model.path}'" if model.path else title
        model = head_of(model)
        self._proto = model.proto
        self.session = Session(model.proto, optimize=True, threads=threads)
        self.inputs = data_inputs(model.proto, {})
        self.batch = next((i.shape[0] for i in self.inputs if i.shape and i.shape[0]), None)
        self.ran = False

    def outputs(self, x: Feed, names: list[str]) -> Outputs:
        """Return outputs ``names`` for x (b, …), those with a row per sample cut to b rows.

        An input of another floating-point type than x, as when a float16 model is compared with a
        float32 one, gets x in its own.
        """
        feeds = self._feeds(x)
        try:
            outputs = self._all(feeds, names)
        except ModelError:
            if self.batch is not None or rows(feeds) == 1 or self.ran:
                raise
            self.batch = 1
            outputs = self._all(feeds, names)
        self.ran = True
        return outputs

    def maker(self, output: str) -> str | None:
        """The op that computes ``output``, as `maker_of` says."""
        return maker_of(self._proto, output)

    def layout(self, output: str, otherwise: Layout) -> Layout:
        """Where the classes of ``output`` stand, as `layout_of` says."""
        return layout_of(self._proto, output, otherwise)

    def _all(self, feeds: Feeds, names: list[str]) -> Outputs:
        n = rows(feeds)
        step = self.batch or n
        fill = -n % step
        filled = {key: _filled(x, fill) for key, x in feeds.items()}
        parts = [
            self.session.run({key: x[i : i + step] for key, x in filled.items()}, names)
            for i in range(0, n + fill, step)
        ]
        if len(parts) == 1 and not fill:
            return {name: np.asarray(parts[0][name]) for name in names}
        per = [name for name in names if all(np.shape(p[name])[:1] == (step,) for p in parts)]
        return {name: np.concatenate([p[name] for p in parts])[:n] for name in per}

    def _feeds(self, x: Feed) -> Feeds:
        """The array of each input, in its type; DataError where they do not go in."""
        if isinstance(x, dict):
            given = x
        elif len(self.inputs) == 1:
            given = {self.inputs[0].name: x}
        else:
            given = {"": x}
        if set(given) != {i.name for i in self.inputs}:
            what = ", ".join(given) if isinstance(x, dict) else f"one array {x.shape}"
            raise DataError(
                f"{what} for {self.title}, whose inputs are"
                f" {', '.join(map(str, self.inputs)) or 'none'}; give an array for each of them"
            )
        return {i.name: self._typed(given[i.name], i) for i in self.inputs}

    def _typed(self, x: NDArray[np.generic], port: DataInput) -> NDArray[np.generic]:
        if port.shape and not port.takes(x.shape):
            raise DataError(
                f"images of shape {x.shape[1:]}, but input '{port.name}' of {self.title} is"
                f" ({', '.join(str(s or '?') for s in port.shape)}); open the data for this model,"
                " or give its size in --preprocess"
            )
        if x.dtype.kind != "f" or port.dtype.kind != "f":
            return x
        with np.errstate(over="ignore"):
            return x.astype(port.dtype, copy=False)

    def listed(self) -> str:
        """The outputs with their shapes, for messages."""
        return ", ".join(
            f"{o.name} ({', '.join(str(s or '?') for s in o.shape)})" for o in self.session.outputs
        )


def _filled(x: NDArray[np.generic], fill: int) -> NDArray[np.generic]:
    """The rows of x, and copies of the last one."""
    return np.concatenate([x, np.repeat(x[-1:], fill, axis=0)]) if fill else x


def maker_of(proto: onnx.ModelProto, output: str) -> str | None:
    """The op that computes ``output``, past what only copies, picks and resizes values.

    Of what is joined it is the op that computes all the parts; None where they have several.
    """
    makers = {name: node for node in proto.graph.node for name in node.output}
    ops: set[str | None] = set()
    stack = [output]
    while stack:
        node = makers.get(stack.pop())
        if node is not None and node.op_type in _COPIES:
            stack.append(node.input[0])
        elif node is not None and node.op_type == "Concat":
            stack.extend(node.input)
        else:
            ops.add(None if node is None else node.op_type)
    return ops.pop() if len(ops) == 1 else None
