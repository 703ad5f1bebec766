"""Recipes of random networks: plain values that hypothesis can shrink."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal, get_args

from hypothesis import strategies as st
from ort_version import ort_is_older_than

Kind = Literal[
    "residual",
    "projected",
    "concat",
    "split",
    "depthwise",
    "grouped",
    "squeeze-excite",
    "pool",
    "norm",
    "shuffle",
    "transposed",
    "unary",
    "elementwise",
    "logic",
    "instance-norm",
    "group-norm",
    "layer-norm",
    "softmax",
    "selective",
    "reduce",
    "arg",
    "boxes",
    "blocks-of-depth",
    "tile",
    "expand",
    "gather",
    "slice",
    "pad",
    "resize",
    "channels-last",
    "computed-shape",
    "chunk",
    "shared-weight",
    "made-weight",
    "recurrent",
    "dense",
    "attention",
    "fused",
    "branches",
    "loop",
    "places",
    "correlation",
    "second-image",
    "lengths",
    "locked",
]
MORE_INPUTS = {"second-image", "lengths"}
"""Kinds that read inputs beside the image."""

Head = Literal["flatten", "reshape", "pool", "conv", "matmul"]
Form = Literal["initializers", "constant nodes", "inputs"]
SIDE = 8
BATCH = 2
VARIANTS = 60  # a multiple of 2, 3, 4, 5 and 6: every way to write a block is as likely
WIDEST = 24  # channels; a wider tensor is brought back to a few before the next block
OPSETS = [11, 13, 17, 18, 21, 24]
BLOCKS_OF_A_NET = (2, 6)
WIDTHS = (2, 7)
STEMS = (3, 8)
SEEDS = (0, 999)
RUNNABLE = [o for o in OPSETS if o < 24 or not ort_is_older_than("1.24")]  # it came with 24


@dataclass(frozen=True)
class Block:
    """``width`` are channels, ``variant`` chooses among the ways to write the block."""

    kind: Kind
    width: int
    variant: int


@dataclass(frozen=True)
class Recipe:
    """``symbolic``: the file states neither batch nor image size, nor the shapes in between.

    ``shuffled``: nodes do not stand behind what they read. ``dense``: products with matrices stand
    in place of most convolutions.
    """

    blocks: tuple[Block, ...]
    stem: int
    head: Head
    opset: int
    seed: int
    form: Form = "initializers"
    symbolic: bool = False
    shuffled: bool = False
    dense: bool = False


def recipes(of_images: bool = False) -> st.SearchStrategy[Recipe]:
    """Two to six blocks between a stem and a head; ``of_images``: without other inputs."""
    fewest, most = BLOCKS_OF_A_NET
    kinds = [kind for kind in get_args(Kind) if not of_images or kind not in MORE_INPUTS]
    block = st.builds(
        Block,
        kind=st.sampled_from(kinds),
        width=st.integers(*WIDTHS),
        variant=st.integers(0, VARIANTS - 1),
    )
    return st.builds(
        Recipe,
        blocks=st.lists(block, min_size=fewest, max_size=most).map(tuple),
        stem=st.integers(*STEMS),
        head=st.sampled_from(get_args(Head)),
        opset=st.sampled_from(RUNNABLE),
        seed=st.integers(*SEEDS),
        form=st.sampled_from(get_args(Form)),
        symbolic=st.booleans(),
        shuffled=st.booleans(),
        dense=st.booleans(),
    )


def random_recipe(rng: random.Random) -> Recipe:
    """The same for a generator of numbers, where there is no time to shrink or to balance."""
    blocks = tuple(
        Block(rng.choice(get_args(Kind)), rng.randint(*WIDTHS), rng.randrange(VARIANTS))
        for _ in range(rng.randint(*BLOCKS_OF_A_NET))
    )
    return Recipe(
        blocks,
        stem=rng.randint(*STEMS),
        head=rng.choice(get_args(Head)),
        opset=rng.choice(RUNNABLE),
        seed=rng.randint(*SEEDS),
        form=rng.choice(get_args(Form)),
        symbolic=rng.random() < 0.5,
        shuffled=rng.random() < 0.2,
        dense=rng.random() < 0.2,
    )
