"""Parts of a sequence, written as slices, are what ONNX Runtime takes out of the sequence."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import parser

import reprune_onnx as rp
from reprune_onnx.analyzer.sequences import as_slices
from reprune_onnx.runtime.ort import Session

HEADER = '<ir_version: 8, opset_import: ["" : 17]>'


def network(body: str, weights: str) -> rp.Model:
    graph = f"g (float[2,7,4] x) => (float[] y, float[] z) <{weights}> {{ {body} }}"
    proto = parser.parse_model(f"{HEADER} {graph}")
    for value in proto.graph.output:
        shape = [f"{value.name}{axis}" for axis in range(3)]
        value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, 1, shape))
    return rp.Model(proto)


def outputs(model: rp.Model) -> dict[str, np.ndarray]:
    x = np.random.default_rng(3).standard_normal((2, 7, 4)).astype(np.float32)
    return Session(model.proto, optimize=False).run({"x": x})


PARTS = """s = SplitToSequence <axis = {axis}> (x, size)
    y = SequenceAt (s, first)
    z = SequenceAt (s, second)"""


@pytest.mark.parametrize(
    ("axis", "size", "first", "second", "shapes"),
    [
        (1, "int64 size = {3}", 0, 2, [(2, 3, 4), (2, 1, 4)]),
        (-1, "int64 size = {2}", 1, 0, [(2, 7, 2), (2, 7, 2)]),
        (0, "int64 size = {1}", 1, 1, [(1, 7, 4), (1, 7, 4)]),
        (1, "int64[3] size = {4, 1, 2}", 2, -3, [(2, 2, 4), (2, 4, 4)]),
        (1, "int32[3] size = {4, 1, 2}", 1, -1, [(2, 1, 4), (2, 2, 4)]),
        (1, "int64[1] size = {7}", 0, 0, [(2, 7, 4), (2, 7, 4)]),
    ],
)
def test_slices_are_the_parts(
    axis: int, size: str, first: int, second: int, shapes: list[tuple[int, ...]]
) -> None:
    weights = f"{size}, int64 first = {{{first}}}, int64 second = {{{second}}}"
    model = network(PARTS.format(axis=axis), weights)
    before = model.proto.SerializeToString()

    rewritten = as_slices(model)

    assert model.proto.SerializeToString() == before
    assert {n.op_type for n in rewritten.proto.graph.node} == {"Constant", "Slice"}
    assert not rewritten.proto.graph.initializer, (
        "sizes and indices that nobody reads any more are gone"
    )
    onnx.checker.check_model(rewritten.proto, full_check=True)
    expected, values = outputs(model), outputs(rewritten)
    assert [values[name].shape for name in ("y", "z")] == shapes
    for name, array in expected.items():
        np.testing.assert_array_equal(values[name], array)


def test_a_constant_with_another_reader_stays() -> None:
    body = (
        PARTS.format(axis=1).replace("z = ", "q = ") + "\nr = Cast <to = 1> (size) z = Mul (q, r)"
    )
    model = network(body, "int64 size = {3}, int64 first = {0}, int64 second = {1}")

    rewritten = as_slices(model)

    assert [t.name for t in rewritten.proto.graph.initializer] == ["size"]
    for name, array in outputs(model).items():
        np.testing.assert_array_equal(outputs(rewritten)[name], array)


@pytest.mark.parametrize(
    "body",
    [
        "s = SplitToSequence <axis = 1> (x, three) y = SequenceAt (s, zero)"
        " z = ConcatFromSequence <axis = 1> (s)",
        "s = SplitToSequence <axis = 1> (x, three) y = SequenceAt (s, zero)"
        " z = SequenceAt (s, last)",
        "s = SplitToSequence <axis = 1> (x) y = SequenceAt (s, zero) z = Relu (x)",
        "m = ReduceMax <keepdims = 0> (x) i = Cast <to = 7> (m) j = Mul (i, zero)"
        " s = SplitToSequence <axis = 1> (x, three) y = SequenceAt (s, j) z = Relu (x)",
    ],
    ids=["read as a whole", "from an unknown end", "one by one", "at a computed place"],
)
def test_a_sequence_that_is_more_than_slices_stays(body: str) -> None:
    model = network(body, "int64 three = {3}, int64 zero = {0}, int64 last = {-1}")

    assert as_slices(model) is model
