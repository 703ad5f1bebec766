"""Every sentence by which channels stay is printed by a network of which it is true.

The sentences are found in the source: one without a row fails the last test but one. A row's twin
lacks what the sentence gives as the cause; it is silent there, and the same channels can go.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import rows_of_lock_sentences
import rows_of_rule_locks
from lock_row import Row
from lock_sentences import sentences
from rule_cases import FREE, LOCKED
from rule_graphs import Case, network

import reprune_onnx as rp

ROWS = [*rows_of_lock_sentences.ROWS, *rows_of_rule_locks.ROWS]


def graph(row: Row, body: str, *, changed: bool) -> onnx.ModelProto:
    proto = network(Case(row.says, body, row.weights, row.n, row.opset))
    if changed and row.change is not None:
        row.change(proto)
    return proto


def analysed(row: Row) -> rp.types.ChannelMap:
    return rp.analyze(rp.Model(graph(row, row.body, changed=True)), row.scope)


def channels_of(channels: rp.types.ChannelMap, name: str) -> np.ndarray:
    return next(layer.out_ids for layer in channels.layers if layer.name == name)


def said(channels: rp.types.ChannelMap, row: Row) -> list[rp.types.Lock]:
    """The locks of the row's sentence, which may begin with the node's title."""
    return [lock for lock in channels.locks if lock.reason.endswith(row.says)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.says)
def test_the_sentence_is_said_of_the_channels_that_stay(row: Row) -> None:
    channels = analysed(row)
    locks = said(channels, row)

    assert locks, [lock.reason for lock in channels.locks]
    held = np.concatenate([lock.ids for lock in locks])
    for name in row.stays:
        assert np.intersect1d(held, channels_of(channels, name)).size, name


@pytest.mark.parametrize("row", [row for row in ROWS if row.stays], ids=lambda row: row.says)
def test_without_the_cause_the_same_channels_can_go(row: Row) -> None:
    scope = row.twin_scope or row.scope
    twin = rp.analyze(rp.Model(graph(row, row.twin, changed=False)), scope)

    free = np.concatenate([g.units[g.free] for g in twin.groups])
    for name in row.stays:
        without_cause = channels_of(twin, name)
        assert not any(np.intersect1d(lock.ids, without_cause).size for lock in said(twin, row))
        assert np.intersect1d(free, without_cause).size, name


def test_every_sentence_of_the_source_has_a_row() -> None:
    printed = [lock.reason for row in ROWS for lock in said(analysed(row), row)]
    lacking = [text for text, shape in sentences().items() if not any(map(shape.search, printed))]

    assert not lacking


def test_no_lock_is_explained_by_a_sentence_that_is_not_found_in_the_source() -> None:
    """The control: what finds the sentences overlooks none."""
    for case in FREE + LOCKED:
        for lock in rp.analyze(rp.Model(network(case))).locks:
            assert any(shape.search(lock.reason) for shape in sentences().values()), lock.reason
