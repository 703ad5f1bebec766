"""A model that takes images in batches of any size, whatever batch its file was made for."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray

from reprune_onnx.errors import DataError, ModelError
from reprune_onnx.runtime.image_input import image_input
from reprune_onnx.runtime.ort import Session
from reprune_onnx.runtime.tail import head_of
from reprune_onnx.types import Model

_COPIES = {
    *("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"),
    *("Gather", "Resize", "Slice", "Split", "Upsample"),
}

Outputs = dict[str, NDArray[np.generic]]


class Predictor:
    """Runs a model on images.

    ``title`` is what messages call a model that comes from no file. ``batch`` is the static batch
    size, if there is one: the file's, or 1 where the first batch fails and single images do not, as
    with a Reshape to a fixed batch behind a symbolic input. Raises ModelError where the model has
    several data inputs.
    """

    def __init__(self, model: Model, title: str, threads: int) -> None:
        self.title = f"'{model.path}'" if model.path else title
        model = head_of(model)
        self._proto = model.proto
        self.session = Session(model.proto, optimize=True, threads=threads)
        self.input = image_input(model.proto, {})
        self.batch = self.input.shape[0] if self.input.shape else None
        self.ran = False

    def outputs(self, x: NDArray[np.generic], names: list[str]) -> Outputs:
        """Return outputs ``names`` for x (b, ·, ·, ·), those with a row per image cut to b rows.

        An input of another floating-point type than x, as when a float16 model is compared with a
        float32 one, gets x in its own.
        """
        self._check(x)
        if x.dtype.kind == "f" and self.input.dtype is not None and self.input.dtype.kind == "f":
            with np.errstate(over="ignore"):
                x = x.astype(self.input.dtype, copy=False)
        try:
            outputs = self._all(x, names)
        except ModelError:
            if self.batch is not None or len(x) == 1 or self.ran:
                raise
            self.batch = 1
            outputs = self._all(x, names)
        self.ran = True
        return outputs

    def maker(self, output: str) -> str | None:
        """The op that computes ``output``, as `maker_of` says."""
        return maker_of(self._proto, output)

    def _all(self, x: NDArray[np.generic], names: list[str]) -> Outputs:
        step = self.batch or len(x)
        fill = -len(x) % step
        filled = np.concatenate([x, np.repeat(x[-1:], fill, axis=0)]) if fill else x
        parts = [
            self.session.run({self.input.name: filled[i : i + step]}, names)
            for i in range(0, len(filled), step)
        ]
        if len(parts) == 1 and not fill:
            return {name: np.asarray(parts[0][name]) for name in names}
        rows = [name for name in names if all(np.shape(p[name])[:1] == (step,) for p in parts)]
        return {name: np.concatenate([p[name] for p in parts])[: len(x)] for name in rows}

    def _check(self, x: NDArray[np.generic]) -> None:
        wanted = self.input.shape[1:]
        fits = len(wanted) == x.ndim - 1 and all(
            w in (None, h) for w, h in zip(wanted, x.shape[1:], strict=True)
        )
        if not fits and self.input.shape:
            stated = ", ".join(str(s or "?") for s in self.input.shape)
            raise DataError(
                f"images of shape {x.shape[1:]}, but input '{self.input.name}' of {self.title} is "
                f"({stated}); open the data for this model, or give its size in --preprocess"
            )

    def listed(self) -> str:
        """The outputs with their shapes, for messages."""
        return ", ".join(
            f"{o.name} ({', '.join(str(s or '?') for s in o.shape)})" for o in self.session.outputs
        )


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
