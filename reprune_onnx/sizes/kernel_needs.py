"""The needs of ONNX Runtime's kernels, of which shape inference says nothing.

It knows the shape of what they make all the same, so that a model seems to fit and does not run.
"""

from __future__ import annotations

import onnx

from reprune_onnx.attributes import attribute
from reprune_onnx.sizes.need import Inputs, Need, Tensors, apart, times, title

_INTERPOLATING = {b"linear", b"cubic"}
_LENGTHS, _STATES = 4, slice(5, 7)  # inputs of a recurrent layer


def resize(tensors: Tensors, node: onnx.NodeProto, inputs: Inputs) -> Need | None:
    """A Resize that interpolates keeps the first extent, and the channels on one side of it.

    Sizes along which it may not interpolate have to be those that come.
    """
    data, result = inputs[0] or (), tensors.extents.get(node.output[0])
    states_sizes = len(node.input) > 3 and bool(node.input[3])
    if attribute(node, "mode", b"nearest") not in _INTERPOLATING or not states_sizes:
        return None
    if not result or not 4 <= len(result) == len(data) <= 5:
        return None
    fixed = [(data[axis], result[axis]) for axis in (0, 1)]
    if len(data) == 4 and data[3] == result[3]:  # channels stand last
        del fixed[1]
    text = f"{title(node)} interpolates {times(data)} to {times(result)}"
    return apart(node, text, fixed, batch=data[0] != result[0])


def gather(tensors: Tensors, node: onnx.NodeProto, inputs: Inputs) -> Need | None:
    """A tensor that is read at stated places has at least as many elements there."""
    data, places = inputs[0] or (), tensors.integers.get(node.input[1])
    if not places or node.input[0] in tensors.weights:
        return None
    axis = attribute(node, "axis", 0) % len(data)
    extent, farthest = data[axis], max(places, key=_least_extent)
    least = _least_extent(farthest)
    text = f"{title(node)} reads place {farthest} of {extent} along axis {axis}"
    return Need(title(node), text, extent, least, extent >= least, 0 if axis else least)


def roi_align(tensors: Tensors, node: onnx.NodeProto, inputs: Inputs) -> Need | None:
    """A RoiAlign wants the images that its boxes are of."""
    data, images = inputs[0] or (), tensors.integers.get(node.input[2])
    if not images:
        return None
    least = max(map(_least_extent, images))
    text = f"{title(node)} reads image {max(images)} of {data[0]}"
    return Need(title(node), text, data[0], least, data[0] >= least, least)


def _least_extent(place: int) -> int:
    """The least extent along which there is such a place, which counts from the end below zero."""
    return place + 1 if place >= 0 else -place


def gemm_bias(tensors: Tensors, node: onnx.NodeProto, inputs: Inputs) -> Need | None:
    """The bias of a Gemm that has rows has as many as come."""
    data, bias = inputs[0] or (), inputs[2] if len(inputs) > 2 else None
    if not bias or len(bias) < 2 or bias[0] == 1 or attribute(node, "transA", 0):
        return None
    return apart(node, f"{title(node)} adds {times(bias)} to {data[0]} rows", [(data[0], bias[0])])


def convolution_groups(tensors: Tensors, node: onnx.NodeProto, inputs: Inputs) -> Need | None:
    """A convolution makes as many channels in each of its groups."""
    kernel, groups = inputs[1], attribute(node, "group", 1)
    if not kernel or groups < 1:
        return None
    text = f"{title(node)} makes {kernel[0]} channels in {groups} groups"
    return apart(node, text, [(kernel[0], -(-kernel[0] // groups) * groups)], batch=False)


def kernel_window(tensors: Tensors, node: onnx.NodeProto, inputs: Inputs) -> Need | None:
    """A window wants no more than what comes and what is padded, up to a step of its stride."""
    data, weight = inputs[0] or (), inputs[1] if len(inputs) > 1 else None
    is_padded_to_fit = attribute(node, "auto_pad", b"").startswith(b"SAME")
    window = attribute(node, "kernel_shape", ()) or (weight or ())[2:]
    rank = len(window)
    if not rank or is_padded_to_fit or len(data) != rank + 2:
        return None
    ones = [1] * rank
    pads = attribute(node, "pads", ()) or [0] * 2 * rank
    strides = attribute(node, "strides", ()) or ones
    dilations = attribute(node, "dilations", ()) or ones
    padded = [n + pads[k] + pads[k + rank] for k, n in enumerate(data[2:])]
    covered = [(n - 1) * d + 1 for n, d in zip(window, dilations, strict=True)]
    text = f"{title(node)} has a window of {times(covered)} in {times(padded)}"
    too_small = [(p, c) for p, c, s in zip(padded, covered, strides, strict=True) if p + s <= c]
    return apart(node, text, too_small, batch=False)


def space_to_depth(tensors: Tensors, node: onnx.NodeProto, inputs: Inputs) -> Need | None:
    """A SpaceToDepth wants sides that its blocks divide."""
    data, block = inputs[0] or (), attribute(node, "blocksize", 1)
    text = f"{title(node)} takes {times(data[2:])} apart in blocks of {block}"
    return apart(node, text, [(n, -(-n // block) * block) for n in data[2:]], batch=False)


def squeeze(tensors: Tensors, node: onnx.NodeProto, inputs: Inputs) -> Need | None:
    """A Squeeze wants one along each of its axes."""
    data = inputs[0] or ()
    stated = attribute(node, "axes", None)
    axes = stated or (tensors.integers.get(node.input[1]) if len(node.input) > 1 else None)
    if not axes:
        return None
    text = f"{title(node)} drops axes {', '.join(map(str, axes))} of {times(data)}"
    return apart(node, text, [(data[axis], 1) for axis in axes], batch=False)


def reverse_sequence(tensors: Tensors, node: onnx.NodeProto, inputs: Inputs) -> Need | None:
    """A ReverseSequence wants as many sequences as there are lengths."""
    return _sequences(node, inputs, attribute(node, "batch_axis", 1), [inputs[1]])


def recurrent_layer(tensors: Tensors, node: onnx.NodeProto, inputs: Inputs) -> Need | None:
    """A recurrent layer wants as many sequences as there are lengths, and states to begin with."""
    axis = 0 if attribute(node, "layout", 0) else 1  # of the batch
    states = [(extents or ())[axis:] for extents in inputs[_STATES]]
    return _sequences(node, inputs, axis, [*inputs[_LENGTHS : _STATES.start], *states])


def _sequences(node: onnx.NodeProto, inputs: Inputs, axis: int, lengths: Inputs) -> Need | None:
    """The need of a node whose inputs ``lengths`` begin with as many as come along ``axis``."""
    data = inputs[0] or ()
    wanted = [extents[0] for extents in lengths if extents]
    if not wanted:
        return None
    text = f"{title(node)} has a batch of {data[axis]} beside lengths or states for {wanted[0]}"
    return apart(node, text, [(data[axis], wanted[0])])
