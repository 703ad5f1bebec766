"""What is asked for moves until what is wanted is reached."""

import numpy as np
import pytest

from reprune_onnx.search.share_search import ShareSearch
from reprune_onnx.types import Selection


def selection(k):
    return Selection(np.array([bool(k % 2)]), {}, {}, (f"{k}",))


def aimed(wanted, gives, expects=lambda share: share, at_least=False):
    """The shares that were asked for, and what the best of them gave."""
    aim, asked = ShareSearch[Selection](wanted, at_least), []
    while (share := aim.next()) is not None:
        asked.append(share)
        aim.add(share, gives(share), selection(len(asked)), expects(share))
    best = int(aim.best().notes[0]) - 1
    return asked, gives(asked[best])


def test_what_gives_as_expected_is_asked_once():
    assert aimed(0.3, lambda share: share) == ([0.3], 0.3)


def test_a_coarse_network_that_gives_as_expected_is_asked_once():
    """No other share would do better: the allocation has looked for the nearest."""
    assert aimed(0.3, lambda share: 0.25, lambda share: 0.25) == ([0.3], 0.25)


@pytest.mark.parametrize("gives", [lambda s: 0.9 * s, lambda s: s**2, lambda s: min(0.9, 1.5 * s)])
@pytest.mark.parametrize("wanted", [0.1, 0.3, 0.55, 0.8])
def test_what_gives_otherwise_is_reached(gives, wanted):
    asked, reached = aimed(wanted, gives)
    assert len(asked) > 1
    assert reached == pytest.approx(wanted, abs=0.01)


def test_at_least_what_was_wanted_is_taken():
    def steps(share):
        return np.floor(share * 20) / 20 - 0.02

    _, reached = aimed(0.3, steps, at_least=True)
    assert reached == pytest.approx(0.33)
    _, reached = aimed(0.3, steps)
    assert reached == pytest.approx(0.28)


@pytest.mark.parametrize("width", [0.005, 0.02, 0.05])
@pytest.mark.parametrize("wanted", [0.2, 0.4, 0.61])
def test_coarse_steps_that_fall_just_short_are_taken(wanted, width):
    def steps(share):  # a little less than wanted, until a whole step more is asked for
        return wanted - 0.0003 + width * np.floor((share - wanted) / width)

    asked, reached = aimed(wanted, steps, at_least=True)
    assert reached >= wanted
    assert len(asked) <= 6


def test_it_ends():
    asked, _ = aimed(0.5, lambda share: 0.1)
    assert 1 < len(asked) <= 6


def test_no_more_is_asked_for_than_can_be():
    aim = ShareSearch[str](0.5, near=0.01)
    assert aim.next() == 0.5
    aim.most = 0.4
    assert aim.next() == 0.4
    aim.add(0.4, 0.3, "the most")
    assert aim.next() is None
    assert aim.best() == "the most"


def test_what_is_near_enough_ends_it():
    aim = ShareSearch[str](0.5, near=0.02)
    aim.add(0.5, 0.3, "far")
    assert aim.next() == 0.7
    aim.add(0.7, 0.515, "near")
    assert aim.next() is None
    assert aim.best() == "near"


@pytest.mark.parametrize("wanted", [0.5, 0.1])
def test_a_measurement_that_goes_the_wrong_way_does_not_end_it(wanted):
    aim = ShareSearch[str](wanted, near=0.01)
    away = 0.1 if wanted == 0.5 else -0.1
    aim.add(wanted, wanted - away, "far")
    assert aim.next() == pytest.approx(max(wanted + away, 0.001))
    aim.add(wanted + away, wanted - 2 * away, "further")
    assert aim.next() == pytest.approx(min(max(wanted + 2 * away, 0.001), 0.999))
