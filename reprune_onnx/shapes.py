"""``--input-shape``, the shapes of a model's inputs, and what is assumed of those left open."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Literal

import onnx

from reprune_onnx import near
from reprune_onnx.errors import UsageError
from reprune_onnx.types import Shape

Layout = Literal["nchw", "nhwc"]

IMAGE_SIDE = 224  # the side of an image where neither the model nor the user states one
IMAGE_CHANNELS = (1, 3, 4)
_VOLUME_SIDE = 32  # 224 in three directions would be 11 million positions per channel
_CHANNELS = 3
_BATCH = 1
_DIGITS = 19  # of an extent: more do not fit its type


def parse_input_shapes(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Read ``--input-shape NAME=1,3,224,224``, given any number of times.

    >>> parse_input_shapes(["input:0=1,3,224,224"])
    {'input:0': (1, 3, 224, 224)}
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for text in texts:
        name, equals, extents = text.rpartition("=")
        parts = [part.strip() for part in extents.split(",")]
        numeric = all(
            part.isascii() and part.isdigit() and len(part) < _DIGITS and int(part) > 0
            for part in parts
        )
        if not equals or not name.strip() or not numeric:
            raise UsageError(
                f"--input-shape '{text}' is not NAME=1,3,224,224 (an input's name and its extents, "
                "each at least 1)"
            )
        shape = tuple(int(part) for part in parts)
        if shapes.setdefault(name.strip(), shape) != shape:
            raise UsageError(
                f"--input-shape: '{name.strip()}' is given as {shapes[name.strip()]} and as "
                f"{shape}; give it once"
            )
    return shapes


def image_layout(shape: Shape) -> Layout:
    """Return the layout of an image input (N, ·, ·, ·).

    ONNX's own NCHW, unless the last extent is 1, 3 or 4 and neither of the two before it is.

    >>> image_layout((1, 3, 240, 320)), image_layout((None, None, None, 3))
    ('nchw', 'nhwc')
    """
    last_only = not {shape[1], shape[2]} & set(IMAGE_CHANNELS)
    return "nhwc" if shape[3] in IMAGE_CHANNELS and last_only else "nchw"


def stated_shapes(
    proto: onnx.ModelProto, overrides: Mapping[str, tuple[int, ...]]
) -> dict[str, Shape | None]:
    """Return the shape of every input of the model that is not an initializer.

    It is that of ``overrides``, or else the file's, with None for a symbolic extent, or None as a
    whole for an unknown rank. UsageError where an override names no input, or disagrees with a
    static extent or the rank.
    """
    constants = {tensor.name for tensor in proto.graph.initializer}
    constants |= {tensor.values.name for tensor in proto.graph.sparse_initializer}
    shapes = {i.name: _stated(i) for i in proto.graph.input if i.name not in constants}
    _check_names(shapes, overrides)
    agreed = {name: _agreed(name, shapes[name], given) for name, given in overrides.items()}
    return {**shapes, **agreed}


def concrete_shapes(
    proto: onnx.ModelProto, overrides: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    """Return a shape without symbols for every input of the model that is not an initializer.

    Static extents stay. Symbolic ones come from ``overrides``, or else are

    * the first: 1;
    * of rank 4: the channels (axis 1, or axis 3 of an NHWC input) 3, the sides 224;
    * of rank 3: 224, but 1 in (2, ?, 128), which is the state of recurrent layers;
    * of rank 5 and more: channels 3, the sides 32; of rank 2: 1.

    One symbol has one extent in all inputs: the one that ``overrides`` gives it, 1 where it is some
    input's first extent, or else the largest of what is assumed. An input whose rank the file does
    not state is left out unless ``overrides`` has it. UsageError where an override names no input,
    or disagrees with a static extent or the rank.
    """
    stated = stated_shapes(proto, overrides)
    full = {name: _assumed(shape) for name, shape in stated.items() if shape is not None}
    symbols_of = symbols(proto)
    extents = _extents(full, symbols_of, overrides)
    for name in full.keys() & symbols_of.keys() - overrides.keys():
        pairs = zip(full[name], symbols_of[name], strict=True)
        full[name] = tuple(n if s is None else extents[s] for n, s in pairs)
    return full


def _extents(
    shapes: Mapping[str, tuple[int, ...]],
    symbols_of: Mapping[str, tuple[str | None, ...]],
    overrides: Container[str],
) -> dict[str, int]:
    """The extent of every symbol: what is said of it, or else assumed."""
    said: dict[str, int] = {}
    assumed: dict[str, int] = {}
    for name in [name for name in shapes if name in symbols_of]:  # in the file's order
        for axis, symbol in enumerate(symbols_of[name]):
            n = shapes[name][axis]
            if symbol is None:
                continue
            if name in overrides:
                said.setdefault(symbol, n)
            assumed[symbol] = max(assumed.get(symbol, 0), n)
    firsts = {axes[0] for axes in symbols_of.values() if axes}
    return {s: said.get(s, _BATCH if s in firsts else n) for s, n in assumed.items()}


def symbols(proto: onnx.ModelProto) -> dict[str, tuple[str | None, ...]]:
    """Return what every input whose rank is stated calls its extents; None for a static one.

    An extent without a name gets one of its own, and so does a name that stands for an input's
    first extent and for another one of it: files say "?" or "None" for all that is open.
    """
    constants = {tensor.name for tensor in proto.graph.initializer}
    places: dict[str, list[str | None]] = {}
    loose: set[str] = set()
    for value in proto.graph.input:
        tensor = value.type.tensor_type
        if value.name in constants or not tensor.HasField("shape"):
            continue
        names = [None if d.dim_value > 0 else d.dim_param for d in tensor.shape.dim]
        loose |= {""} | ({names[0]} & set(names[1:]) if names and names[0] else set())
        places[value.name] = names
    return {
        name: tuple(f"{name}:{axis}" if s in loose else s for axis, s in enumerate(names))
        for name, names in places.items()
    }


def _check_names(inputs: Mapping[str, Shape | None], overrides: Iterable[str]) -> None:
    for name in overrides:
        if name not in inputs:
            raise UsageError(
                f"--input-shape: the model has no input '{name}'{near.hint(name, inputs)};"
                f" its inputs are {', '.join(map(repr, inputs)) or 'none'}"
            )


def _stated(value: onnx.ValueInfoProto) -> Shape | None:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return tuple(d.dim_value if d.dim_value > 0 else None for d in tensor.shape.dim)


def _agreed(name: str, stated: Shape | None, given: tuple[int, ...]) -> tuple[int, ...]:
    if stated is None:
        return given
    if len(given) != len(stated):
        raise UsageError(
            f"--input-shape: '{name}' has rank {len(stated)}, {_text(stated)}, but {_text(given)} "
            f"has rank {len(given)}; give {len(stated)} extents"
        )
    if any(s not in (None, g) for s, g in zip(stated, given, strict=True)):
        raise UsageError(
            f"--input-shape: '{name}' is {_text(stated)} in the file, which {_text(given)} "
            "contradicts; change only the symbolic extents, shown as ?"
        )
    return given


def _assumed(stated: Shape) -> tuple[int, ...]:
    rank = len(stated)
    side = {2: 1, 3: IMAGE_SIDE, 4: IMAGE_SIDE}.get(rank, _VOLUME_SIDE)
    defaults = [1, *[side] * (rank - 1)]
    if rank == 3 and (stated[0] or 1) > 1 and stated[2]:  # the state of recurrent layers
        defaults[1] = _BATCH
    if rank >= 5 or (rank == 4 and image_layout(stated) == "nchw"):
        defaults[1] = _CHANNELS
    return tuple(s or d for s, d in zip(stated, defaults, strict=False))


def _text(shape: Shape) -> str:
    return f"({', '.join(str(s or '?') for s in shape)})"
