"""Convolutions whose kernel is an activation: a picture looked for in another, as trackers do."""

from __future__ import annotations

from collections.abc import Callable

from random_nets import Net
from random_recipes import BATCH, Block, Kind


def _correlation(net: Net, x: str, block: Block) -> str:
    """``x`` is searched with kernels that another layer makes of it."""
    ways = [_kernel, _per_channel, _per_channel, _transposed, _in_groups, _made]
    return ways[block.variant % len(ways)](net, x, block)


def _searched(net: Net, x: str, n: int) -> tuple[str, str]:
    """An image of ``n`` channels, and as many means of another as kernels of one position."""
    image = net.act(net.conv(x, n), 0)
    means = net.node("GlobalAveragePool", [net.conv(x, n, k=1)], (n, 1))
    return image, means


def _kernel(net: Net, x: str, block: Block) -> str:
    """Each image of the batch is one kernel: what is made has a channel for each."""
    image, kernel = _searched(net, x, block.width)
    y = net.node("Conv", [image, kernel], (BATCH, net.shapes[x][1]))
    return net.act(net.conv(y, block.width, k=1), block.variant)


def _per_channel(net: Net, x: str, block: Block) -> str:
    """Every channel of every image has a kernel of its own, in the way of MixFormer and SiamRPN."""
    n, side = block.width, net.shapes[x][1]
    image, kernel = _searched(net, x, n)
    group = BATCH * n
    if block.variant % 2:
        one = net.aside("Reshape", image, net.integers(1, group, side, side))
        back = net.integers(BATCH, n, side, side)
    else:
        one = net.aside("Reshape", image, net.integers(1, -1, side, side))
        back = net.integers(BATCH, -1, side, side)
    kernels = net.aside("Reshape", kernel, net.integers(-1, 1, 1, 1))
    y = net.aside("Conv", one, kernels, group=group)
    return net.node("Reshape", [y, back], (n, side))


def _transposed(net: Net, x: str, block: Block) -> str:
    """The kernel of a ConvTranspose has the channels that are summed first."""
    image, kernel = _searched(net, x, block.width)
    turned = net.transpose(kernel, 1, 0, 2, 3)
    y = net.node("ConvTranspose", [image, turned], (BATCH, net.shapes[x][1]))
    return net.act(net.conv(y, 3, k=1), block.variant)


def _in_groups(net: Net, x: str, block: Block) -> str:
    """Two groups of channels, and as many kernels as images: each sees a half."""
    n = block.width
    image = net.act(net.conv(x, 2 * n), 0)
    kernel = net.node("GlobalMaxPool", [net.conv(x, n, k=1)], (n, 1))
    y = net.node("Conv", [image, kernel], (BATCH, net.shapes[x][1]), group=2)
    return net.act(net.conv(y, n, k=1), block.variant)


def _made(net: Net, x: str, block: Block) -> str:
    """A layer makes the kernels of another from means over all images, with channels of its own."""
    n_in, n = net.shapes[x][0], block.width
    means = net.reduce("ReduceMean", x, [0, 2, 3])
    net.shapes[means] = (n_in, 1)
    numbers = net.conv(means, n * n_in, k=1)
    kernels = net.aside("Reshape", numbers, net.integers(n, n_in, 1, 1))
    more = [net.normal(n, fan_in=9)] if block.variant % 4 > 1 else []
    return net.node("Conv", [x, kernels, *more], (n, net.shapes[x][1]))


CORRELATION: dict[Kind, Callable[[Net, str, Block], str]] = {"correlation": _correlation}
