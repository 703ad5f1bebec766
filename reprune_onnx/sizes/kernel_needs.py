"""The needs of ONNX Runtime's kernels, of which shape inference says nothing.

It knows the shape of what they make all the same, so that a model seems to fit and does not run.
"""

from __future__ import annotations

import onnx

from reprune_onnx.sizes.need import Comes, Known, Need, apart, times, title

_INTERPOLATING = {b"linear", b"cubic"}
_LENGTHS, _STATES = 4, slice(5, 7)  # inputs of a recurrent layer


def interpolated(known: Known, node: onnx.NodeProto, comes: Comes) -> Need | None:
    """A Resize that interpolates keeps the first extent, and the channels on one side of it.

    Sizes along which it may not interpolate have to be those that come.
    """
    data, made = comes[0] or (), known.extents.get(node.output[0])
    sizes = node.input[3] if len(node.input) > 3 else ""
    mode = next((a.s for a in node.attribute if a.name == "mode"), b"nearest")
    if mode not in _INTERPOLATING or not sizes or not made or not 4 <= len(made) == len(data) <= 5:
        return None
    outer = [(data[k], made[k]) for k in (0, 1)]
    if len(data) == 4 and data[3] == made[3]:  # channels stand last
        del outer[1]
    text = f"{title(node)} interpolates {times(data)} to {times(made)}"
    return apart(node, text, outer, batch=data[0] != made[0])


def gathered(known: Known, node: onnx.NodeProto, comes: Comes) -> Need | None:
    """A tensor that is read at stated places has at least as many elements there."""
    data, places = comes[0] or (), known.integers.get(node.input[1])
    if not places or node.input[0] in known.weights:
        return None
    axis = next((a.i for a in node.attribute if a.name == "axis"), 0) % len(data)
    have, place = data[axis], max(places, key=_held)
    want = _held(place)
    text = f"{title(node)} reads place {place} of {have} along axis {axis}"
    return Need(title(node), text, have, want, have >= want, 0 if axis else want)


def pooled(known: Known, node: onnx.NodeProto, comes: Comes) -> Need | None:
    """A RoiAlign wants the images that its boxes are of."""
    data, images = comes[0] or (), known.integers.get(node.input[2])
    if not images:
        return None
    want = max(map(_held, images))
    text = f"{title(node)} reads image {max(images)} of {data[0]}"
    return Need(title(node), text, data[0], want, data[0] >= want, want)


def _held(place: int) -> int:
    """The least extent along which there is such a place, which counts from the end below zero."""
    return place + 1 if place >= 0 else -place


def added(known: Known, node: onnx.NodeProto, comes: Comes) -> Need | None:
    """The bias of a Gemm that has rows has as many as come."""
    data, bias = comes[0] or (), comes[2] if len(comes) > 2 else None
    flags = {a.name: a.i for a in node.attribute}
    if not bias or len(bias) < 2 or bias[0] == 1 or flags.get("transA"):
        return None
    return apart(node, f"{title(node)} adds {times(bias)} to {data[0]} rows", [(data[0], bias[0])])


def grouped(known: Known, node: onnx.NodeProto, comes: Comes) -> Need | None:
    """A convolution makes as many channels in each of its groups."""
    kernel, groups = comes[1], next((a.i for a in node.attribute if a.name == "group"), 1)
    if not kernel or groups < 1:
        return None
    text = f"{title(node)} makes {kernel[0]} channels in {groups} groups"
    return apart(node, text, [(kernel[0], -(-kernel[0] // groups) * groups)], batch=False)


def windowed(known: Known, node: onnx.NodeProto, comes: Comes) -> Need | None:
    """A window wants no more than what comes and what is padded, up to a step of its stride."""
    data, weight = comes[0] or (), comes[1] if len(comes) > 1 else None
    own = {a.name: list(a.ints) for a in node.attribute}
    same = any(a.name == "auto_pad" and a.s.startswith(b"SAME") for a in node.attribute)
    window = own.get("kernel_shape") or (weight or ())[2:]
    rank = len(window)
    if not rank or same or len(data) != rank + 2:
        return None
    ones, pads = [1] * rank, own.get("pads") or [0] * 2 * rank
    strides, dilations = own.get("strides") or ones, own.get("dilations") or ones
    have = [n + pads[k] + pads[k + rank] for k, n in enumerate(data[2:])]
    want = [(n - 1) * d + 1 for n, d in zip(window, dilations, strict=True)]
    text = f"{title(node)} has a window of {times(want)} in {times(have)}"
    pairs = [(h, w) for h, w, s in zip(have, want, strides, strict=True) if h + s <= w]
    return apart(node, text, pairs, batch=False)


def in_blocks(known: Known, node: onnx.NodeProto, comes: Comes) -> Need | None:
    """A SpaceToDepth wants sides that its blocks divide."""
    data, block = comes[0] or (), next(a.i for a in node.attribute if a.name == "blocksize")
    text = f"{title(node)} takes {times(data[2:])} apart in blocks of {block}"
    return apart(node, text, [(n, -(-n // block) * block) for n in data[2:]], batch=False)


def squeezed(known: Known, node: onnx.NodeProto, comes: Comes) -> Need | None:
    """A Squeeze wants one along each of its axes."""
    data = comes[0] or ()
    stated = next((list(a.ints) for a in node.attribute if a.name == "axes"), None)
    axes = stated or (known.integers.get(node.input[1]) if len(node.input) > 1 else None)
    if not axes:
        return None
    text = f"{title(node)} drops axes {', '.join(map(str, axes))} of {times(data)}"
    return apart(node, text, [(data[axis], 1) for axis in axes], batch=False)


def turned(known: Known, node: onnx.NodeProto, comes: Comes) -> Need | None:
    """A ReverseSequence wants as many sequences as there are lengths."""
    axis = next((a.i for a in node.attribute if a.name == "batch_axis"), 1)
    return _sequences(node, comes, axis, [comes[1]])


def remembered(known: Known, node: onnx.NodeProto, comes: Comes) -> Need | None:
    """A recurrent layer wants as many sequences as there are lengths, and states to begin with."""
    batches_first = next((a.i for a in node.attribute if a.name == "layout"), 0)
    axis = 0 if batches_first else 1
    states = [(extents or ())[axis:] for extents in comes[_STATES]]
    return _sequences(node, comes, axis, [*comes[_LENGTHS : _STATES.start], *states])


def _sequences(node: onnx.NodeProto, comes: Comes, axis: int, beside: Comes) -> Need | None:
    """The need of a node whose inputs ``beside`` begin with as many as come along ``axis``."""
    data = comes[0] or ()
    wanted = [extents[0] for extents in beside if extents]
    if not wanted:
        return None
    text = f"{title(node)} has a batch of {data[axis]} beside lengths or states for {wanted[0]}"
    return apart(node, text, [(data[axis], wanted[0])])
