"""Random small convolutional networks, as recipes of plain values that hypothesis can shrink.

A network is a stem, some blocks and a head; together the blocks hold every op of the rule table
but the retired ones. ``test_the_blocks_hold_the_whole_rule_table`` sees to it.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx
from blocks_of_attention import ATTENTION
from blocks_of_bodies import BODIES
from blocks_of_correlation import CORRELATION
from blocks_of_element_wise_ops import ELEMENT_WISE
from blocks_of_fused_ops import FUSED
from blocks_of_inputs import INPUTS
from blocks_of_layers import LAYERS
from blocks_of_loops import LOOPS
from blocks_of_matrices import MATRICES
from blocks_of_moved_data import MOVED_DATA
from blocks_of_places import PLACES
from blocks_of_statistics import STATISTICS
from random_heads import HEADS
from random_nets import Net
from random_recipes import WIDEST, Block, Kind, Recipe

BLOCKS: dict[Kind, Callable[[Net, str, Block], str]] = (
    LAYERS
    | MATRICES
    | ATTENTION
    | CORRELATION
    | ELEMENT_WISE
    | STATISTICS
    | MOVED_DATA
    | FUSED
    | BODIES
    | LOOPS
    | INPUTS
    | PLACES
)


def build(recipe: Recipe) -> onnx.ModelProto:
    """The network, with weights that keep activations near 1."""
    net = Net(recipe)
    x = net.act(net.conv("x", recipe.stem), 0)
    for block in recipe.blocks:
        if net.shapes[x][0] > WIDEST:
            x = net.act(net.conv(x, 6, k=1), 0)
        x = BLOCKS[block.kind](net, x, block)
    y = HEADS[recipe.head](net, x)
    return net.model(y, rank=4 if recipe.head == "conv" else 2)
