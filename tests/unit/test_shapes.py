"""``--input-shape`` and the shapes assumed without it."""

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from reprune_onnx.errors import UsageError
from reprune_onnx.shapes import concrete_shapes, parse_input_shapes


def model(*constants, **shapes):
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]
    weights = [helper.make_tensor(n, TensorProto.FLOAT, [1], [0.0]) for n in constants]
    inputs += [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in constants]
    return helper.make_model(helper.make_graph([], "g", inputs, [], weights))


@pytest.mark.parametrize(
    ("stated", "assumed"),
    [
        (["N", 3, 32, 32], (1, 3, 32, 32)),
        (["N", 3, "H", "W"], (1, 3, 224, 224)),
        (["N", "H", "W", 3], (1, 224, 224, 3)),
        (["N", "C", "H", "W"], (1, 3, 224, 224)),
        ([4, None, 7, None], (4, 3, 7, 224)),
        (["N", 10], (1, 10)),
        (["N", "F"], (1, 1)),
        (["C", "H", "W"], (1, 224, 224)),
        (["N", "C", "D", "H", "W"], (1, 3, 32, 32, 32)),
        (["N"], (1,)),
        ([], ()),
        (None, None),
    ],
)
def test_assumed_shapes(stated, assumed):
    shapes = concrete_shapes(model("w", x=stated), {})
    assert shapes == ({} if assumed is None else {"x": assumed})


def test_zero_is_symbolic():
    proto = model(x=["N", 3, 8, 8])
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 0
    assert concrete_shapes(proto, {}) == {"x": (1, 3, 8, 8)}


def test_overrides():
    proto = model(x=["N", 3, "H", "W"], free=None)
    shapes = concrete_shapes(proto, {"x": (2, 3, 5, 7), "free": (4,)})
    assert shapes == {"x": (2, 3, 5, 7), "free": (4,)}
    with pytest.raises(UsageError, match=r"rank 4, \(\?, 3, \?, \?\), but \(3, 5\) has rank 2"):
        concrete_shapes(proto, {"x": (3, 5)})
    with pytest.raises(UsageError, match=r"is \(\?, 3, \?, \?\) in the file.*\(1, 1, 5, 7\)"):
        concrete_shapes(proto, {"x": (1, 1, 5, 7)})
    with pytest.raises(UsageError, match=r"no input 'fee' \(did you mean 'free'\?\).*'x', 'free'"):
        concrete_shapes(proto, {"fee": (1,)})


@pytest.mark.parametrize(
    ("given", "x", "state", "mask"),
    [
        ({}, (1, 3, 224), (2, 1, 8), (1, 224)),
        ({"x": (4, 3, 512)}, (4, 3, 512), (2, 4, 8), (4, 512)),
        ({"mask": (2, 7)}, (2, 3, 7), (2, 2, 8), (2, 7)),
        ({"mask": (2, 7), "x": (3, 3, 9)}, (3, 3, 9), (2, 3, 8), (2, 7)),  # the first
    ],
)
def test_one_symbol_has_one_extent_in_all_inputs(given, x, state, mask):
    proto = model(x=["batch", 3, "time"], state=[2, "batch", 8], mask=["batch", "time"])
    assert concrete_shapes(proto, given) == {"x": x, "state": state, "mask": mask}


def test_a_name_for_all_that_is_open_is_no_symbol():
    proto = model(x=["?", 3, "?", "?"], y=["?", "?", 4])
    assert concrete_shapes(proto, {}) == {"x": (1, 3, 224, 224), "y": (1, 224, 4)}
    assert concrete_shapes(proto, {"x": (2, 3, 8, 9)})["y"] == (1, 224, 4)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.text("abc:/=.0", min_size=1), st.lists(st.integers(1, 999), min_size=1), min_size=1
    )
)
def test_parse_round_trip(shapes):
    texts = [f"{name}={','.join(map(str, shape))}" for name, shape in shapes.items()]
    assert parse_input_shapes(texts) == {name: tuple(shape) for name, shape in shapes.items()}


@pytest.mark.parametrize("text", ["x", "x=", "=1,3", "x=1,,3", "x=0,3", "x=-1", "x=a", "x=²"])
def test_malformed(text):
    with pytest.raises(UsageError, match="NAME=1,3,224,224"):
        parse_input_shapes([text])


def test_given_twice():
    assert parse_input_shapes(["x=1", "x=1"]) == {"x": (1,)}
    with pytest.raises(UsageError, match="give it once"):
        parse_input_shapes(["x=1", "x=2"])


def test_nothing_is_changed():
    proto = model(x=["N", 3])
    before = proto.SerializeToString()
    concrete_shapes(proto, {})
    assert proto.SerializeToString() == before and isinstance(proto, onnx.ModelProto)
