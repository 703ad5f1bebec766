"""Conv and ConvTranspose, in one to three directions."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from reprune_onnx.training.bridge.node import Function, Node
from reprune_onnx.training.bridge.ops.windows import Window, pad_image

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def conv(node: Node) -> Function:
    """Conv: symmetric padding is the function's own, any other is added before it."""
    groups = node.attr("group", 1)

    def run(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        window = Window.of(node, w.shape[2:])
        if x.ndim - 2 not in _CONV:
            raise node.refuse(f"{x.ndim - 2} image axes")
        begin, end = window.padding(x.shape[2:])
        if begin != end:
            x, begin = pad_image(x, begin, end), [0] * len(begin)
        function = _CONV[x.ndim - 2]
        return function(x, w, b, window.strides, begin, window.dilations, groups)

    return run


def conv_transpose(node: Node) -> Function:
    """ConvTranspose: computed without padding, then cropped, as any padding may be asymmetric."""
    groups = node.attr("group", 1)

    def run(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        n = x.ndim - 2
        if n not in _TRANSPOSED:
            raise node.refuse(f"{n} image axes")
        window = Window.of(node, w.shape[2:])
        full = _TRANSPOSED[n](
            x, w, None, window.strides, 0, 0, groups=groups, dilation=window.dilations
        )
        more = node.attr("output_padding") or [0] * n
        sizes = node.attr("output_shape")
        if sizes or window.auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            sizes = sizes or [k * s for k, s in zip(x.shape[2:], window.strides, strict=True)]
            total = [
                max(0, a + m - s) for a, m, s in zip(full.shape[2:], more, sizes[-n:], strict=True)
            ]
            upper = window.auto_pad == "SAME_UPPER"
            begin = [t // 2 if upper else t - t // 2 for t in total]
            tail = [s - a + p for s, a, p in zip(sizes[-n:], full.shape[2:], begin, strict=True)]
        else:
            begin, end = window.padding(x.shape[2:])
            tail = [m - e for m, e in zip(more, end, strict=True)]
        y = pad_image(full, [-p for p in begin], tail)
        return y if b is None else y + b.reshape(-1, *[1] * n)

    return run
