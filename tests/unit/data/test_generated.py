"""Images by formula: the same bytes everywhere, any kind and size, with what photographs have."""

import ast
import hashlib
from pathlib import Path

import numpy as np
import pytest

from reprune_onnx.data.generated import FAMILIES, Recipe, families, generate
from reprune_onnx.data.generated.arithmetic import rotation

PLACES = [(name, axes) for name, family in FAMILIES.items() for axes in family.turns]
SPACES = {1: (40,), 2: (12, 17), 3: (6, 7, 5)}


def stack(recipe: Recipe, n: int) -> np.ndarray:
    return np.stack(list(generate(recipe, n)))


@pytest.mark.parametrize(("name", "axes"), PLACES)
def test_every_family_makes_images_that_differ(name: str, axes: int) -> None:
    for channels in (1, 3, 5):
        x = stack(Recipe(channels, SPACES[axes], names=(name,)), 6)
        assert x.shape == (6, channels, *SPACES[axes])
        assert x.dtype == np.uint8
        assert len(np.unique(x.reshape(6, -1), axis=0)) == 6
        assert (x.reshape(6, -1).std(axis=1) > 0).sum() >= 5
        assert x.std() > 15


@pytest.mark.parametrize("space", [(1,), (1, 1), (1, 9), (9, 1), (2, 2), (1, 1, 1), (3, 1, 4)])
def test_the_smallest_sizes(space: tuple[int, ...]) -> None:
    assert stack(Recipe(2, space), 8).shape == (8, 2, *space)


@pytest.mark.parametrize(
    ("recipe", "sha"),
    [
        (Recipe(3, (32, 32)), "dd95f70260fe21c2"),
        (Recipe(1, (20, 44), seed=7), "ef0f5abc151f3411"),
        (Recipe(2, (300,)), "9267f455d9b129bb"),
        (Recipe(1, (12, 12, 12)), "6f96a032d664145d"),
    ],
    ids=["rgb", "gray", "signals", "volumes"],
)
def test_the_bytes_are_the_same_on_every_machine(recipe: Recipe, sha: str) -> None:
    n = 2 * len(recipe.mixture)
    assert hashlib.sha256(stack(recipe, n).tobytes()).hexdigest()[:16] == sha


def test_nothing_is_used_whose_last_bit_depends_on_a_library(root: Path) -> None:
    """Only what IEEE 754 rounds alike, and draws of uniform numbers."""
    allowed = {
        *("abs", "arange", "array", "broadcast_to", "ceil", "clip", "floor", "minimum", "sqrt"),
        *("where", "zeros", "uint8", "int64", "ndarray", "dtype", "random"),
        *("broadcast_shapes", "moveaxis"),
    }
    drawn = {"random", "integers"}
    files = sorted((root / "reprune_onnx" / "data" / "generated").glob("*.py"))
    assert len(files) > 5
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                listed = {"np": allowed, "rng": drawn}.get(node.value.id)
                assert listed is None or node.attr in listed, f"{file.name}: {node.attr}"
            if isinstance(node, ast.BinOp):
                assert not isinstance(node.op, ast.MatMult), file.name
                power = isinstance(node.op, ast.Pow)
                assert not power, file.name


def test_an_image_depends_on_its_number_and_the_seed_alone() -> None:
    recipe = Recipe(3, (16, 16), seed=3)
    all_images = stack(recipe, 8)
    np.testing.assert_array_equal(np.stack(list(generate(recipe, 3, 5))), all_images[5:])
    other = stack(Recipe(3, (16, 16), seed=4), 8)
    assert not any(np.array_equal(a, b) for a, b in zip(all_images, other, strict=True))


def test_a_mixture_takes_turns() -> None:
    recipe = Recipe(3, (16, 16))
    assert recipe.title == "dead leaves, 1/f noise, strokes"
    for i, name in enumerate(families(2)):
        alone = Recipe(3, (16, 16), names=(name,))
        np.testing.assert_array_equal(recipe.image(i), alone.image(i))


def ratio_of_octaves(x: np.ndarray) -> float:
    """The power of coarse detail over that of fine detail, per frequency; 1 for white noise."""
    power = np.mean(np.abs(np.fft.fft2(x - x.mean(axis=(2, 3), keepdims=True))) ** 2, axis=(0, 1))
    f = np.hypot(*np.meshgrid(*[np.fft.fftfreq(n) for n in power.shape], indexing="ij"))
    return float(power[(f > 0) & (f < 0.1)].mean() / power[f > 0.3].mean())


@pytest.mark.parametrize("name", sorted(set(families(2))))
def test_spectra_fall_as_those_of_photographs(name: str) -> None:
    rng = np.random.default_rng(0)
    assert ratio_of_octaves(stack(Recipe(3, (32, 32), names=(name,)), 16).astype(float)) > 10
    assert 0.8 < ratio_of_octaves(rng.uniform(0, 255, (32, 3, 32, 32))) < 1.25


@pytest.mark.parametrize("name", sorted(set(families(2))))
def test_channels_go_together(name: str) -> None:
    x = stack(Recipe(3, (32, 32), names=(name,)), 16).astype(float)
    within = x - x.mean(axis=(2, 3), keepdims=True)
    r = np.corrcoef(within.swapaxes(0, 1).reshape(3, -1))
    assert r[np.triu_indices(3, 1)].min() > 0.5
    noise = np.random.default_rng(0).uniform(size=(3, 30_000))
    assert abs(np.corrcoef(noise)[0, 1]) < 0.1


def test_leaves_hide_each_other_behind_sharp_edges() -> None:
    """Differences of neighbours are mostly small and sometimes large: their kurtosis says so."""

    def kurtosis(x: np.ndarray) -> float:
        step = np.diff(x.astype(float), axis=3).ravel()
        step -= step.mean()
        return float(np.mean(step**4) / np.mean(step**2) ** 2)

    assert kurtosis(stack(Recipe(3, (64, 64), names=("leaves",)), 16)) > 8
    normal = np.random.default_rng(0).normal(size=(4, 3, 64, 64))
    assert 2.8 < kurtosis(normal) < 3.2


@pytest.mark.parametrize("d", [1, 2, 3])
def test_a_rotation_keeps_lengths_and_angles(d: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        R = rotation(rng, d)
        np.testing.assert_allclose(R @ R.T, np.eye(d), atol=1e-12)
