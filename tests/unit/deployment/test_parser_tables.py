"""What the parsers of targets lack: every row has a node that is refused, and one that passes."""

import dataclasses
import re

import numpy as np
import onnx
import pytest

from reprune_onnx.deployment.lower import lower
from reprune_onnx.errors import ModelError, UsageError
from reprune_onnx.limits import Lack
from reprune_onnx.targets import read_target
from reprune_onnx.types import Model
from tests.text_graphs import model as parsed

TX2, XAVIER, ORIN = "jetson-tx2", "jetson-xavier", "jetson-orin"
RELEASES = {TX2: "8.2", XAVIER: "8.5", ORIN: "10"}
OPSETS = {TX2: 13, XAVIER: 17, ORIN: 20}
OLD, ALL = (TX2, XAVIER), (TX2, XAVIER, ORIN)
AXES, SCALES = np.array([0]), np.array([1, 1, 2, 2], np.float32)
FOUR = np.ones(4)

# (targets, what is refused, what is said, what passes, weights, inputs, outputs): c is a Conv's
# output, k and v are inputs of the network
ROWS = [
    (
        OLD,
        "a, b = TopK (c, k)\n y = Identity (a)",
        "TopK 'TopK_1' cannot be made ready for {0}: its K is computed in the graph",
        "a, b = TopK (c, two)\n y = Identity (a)",
        {"two": np.array([2])},
    ),
    (
        OLD,
        "i = Cast <to=6> (c)\n y, b = TopK (i, two)",
        "it sorts integers",
        "y, b = TopK (c, two)",
        {"two": np.array([2])},
    ),
    (
        (TX2,),
        "y, b = TopK <largest=0> (c, two)",
        "largest = 0",
        "y, b = TopK <largest=1> (c, two)",
        {"two": np.array([2])},
    ),
    (
        ALL,
        "p, i = MaxPool <kernel_shape=[2, 2]> (c)\n f = Cast <to=1> (i)\n y = Add (p, f)",
        "something reads its indices",
        "y, i = MaxPool <kernel_shape=[2, 2]> (c)",
        {},
    ),
    (
        (TX2,),
        "y = Conv (c, w, v)",
        "Conv 'Conv_1' cannot be made ready for {0}: its bias is computed",
        "y = Conv (c, w, four)",
        {"four": FOUR},
    ),
    (
        (TX2,),
        "y = NonMaxSuppression (boxes, scores, k)",
        "its limits are computed",
        "y = NonMaxSuppression (boxes, scores, two)",
        {"boxes": np.ones((1, 5, 4)), "scores": np.ones((1, 1, 5)), "two": np.array([2])},
    ),
    (
        (TX2,),
        "y = Resize (c, , v)",
        "its scales are computed",
        "y = Resize (c, , scales)",
        {"scales": SCALES},
    ),
    (ALL, "y = CumSum (c, k)", "its axis is computed", "y = CumSum (c, axes)", {"axes": AXES}),
    (ALL, "y = Squeeze (c, k)", "its axes are computed", "y = Squeeze (c, axes)", {"axes": AXES}),
    (ALL, "y = Unsqueeze (c, k)", "its axes are", "y = Unsqueeze (c, axes)", {"axes": AXES}),
    (
        OLD,
        'y = Resize <coordinate_transformation_mode="tf_half_pixel_for_nn", nearest_mode="floor">'
        " (c, , scales)",
        "round_prefer_floor alone, and it says 'floor'",
        'y = Resize <coordinate_transformation_mode="tf_half_pixel_for_nn"> (c, , scales)',
        {"scales": SCALES},
    ),
    (
        ALL,
        'y = Resize <coordinate_transformation_mode="tf_crop_and_resize"> (c, r, scales)',
        "'tf_crop_and_resize' is not there; use half_pixel",
        'y = Resize <coordinate_transformation_mode="asymmetric"> (c, r, scales)',
        {"scales": SCALES, "r": np.ones(8)},
    ),
    (
        (TX2,),
        'y = Resize <mode="cubic"> (c, , scales)',
        "its mode 'cubic' is not there; use nearest or linear",
        'y = Resize <mode="linear"> (c, , scales)',
        {"scales": SCALES},
    ),
    ((TX2,), "y = Cast <to=2> (c)", "has no uint8", "y = Cast <to=6> (c)", {}),
    ((TX2,), "y = Cast <to=1> (u)", "has no uint8", "y = Cast <to=1> (k)", {}),
    (
        (XAVIER, ORIN),
        "a = Cast <to=2> (c)\n y = Cast <to=1> (a)",
        "uint8 tensor is between two nodes",
        "y = Cast <to=2> (c)",
        {},
    ),
    (
        (XAVIER, ORIN),
        "y = Gather (four, u)",
        "reads a uint8 input of the network",
        "a = Shape (u)\n y = Cast <to=1> (u)",
        {"four": FOUR},
    ),
    (
        (XAVIER, ORIN),
        "y = DynamicOutput (c)",  # stands for any op that makes one: see below
        "makes a uint8 output",
        "y = Cast <to=2> (c)",
        {},
    ),
    ((XAVIER,), "y = Cast <to=6> (u)", "something else than a float", "y = Cast <to=10> (u)", {}),
    ((XAVIER,), "y = Cast <to=2> (k)", "what is no float", "y = Cast <to=2> (c)", {}),
]


def network(body, target, weights):
    """An image x, integers k, numbers v and bytes u -> a 1×1 convolution c -> ``body``."""
    body = body.replace("DynamicOutput (c)", "ConstantOfShape <value = uint8[1] {3}> (k)")
    text = f"""<ir_version: 7, opset_import: ["" : {OPSETS[target]}]>
    net (float[1, 4, 6, 6] x, int64[1] k, float[4] v, uint8[3] u) => (y) {{
        c = Conv (x, w)
        {body}
    }}"""
    return Model(parsed(text, w=np.ones((4, 4, 1, 1)), **weights))


CASES = [(target, *row[1:]) for row in ROWS for target in row[0]]


@pytest.mark.parametrize(("target", "refused", "says", "passes", "weights"), CASES)
def test_a_row_refuses_one_node_and_lets_another_pass(target, refused, says, passes, weights):
    limits = read_target(target).limits
    with pytest.raises(ModelError) as told:
        lower(network(refused, target, weights), limits, target)
    assert says.format(target) in str(told.value)
    assert "; " in str(told.value), "what is missing, and what to do"
    before = network(passes, target, weights)
    after = lower(before, limits, target).model.proto
    assert [n.op_type for n in after.graph.node] == [n.op_type for n in before.proto.graph.node]


@pytest.mark.parametrize("target", ALL)
def test_every_row_of_a_table_has_a_case(target):
    limits = read_target(target).limits
    expanded = ("InstanceNormalization",), ("LayerNormalization",)  # written out: see the norms
    said = [case[2].format(target).rpartition(": ")[2] for case in CASES if case[0] == target]
    for row in limits.rows:
        text = row.says
        for name in (*row.where, *row.unless):
            text = text.replace(f"'{{{name}}}'", "")
        has_case = any(_same(part, text) for part in said)
        assert has_case or row.ops in expanded, row.says


def _same(part, text):
    return any(words in text for words in part.split("'") if len(words) > 8)


@pytest.mark.parametrize("target", ALL)
def test_ops_that_a_parser_lacks_are_ops_of_its_opset_and_refused_by_name(target):
    limits = read_target(target).limits
    assert len(set(limits.unsupported)) == len(limits.unsupported)
    for kind in limits.unsupported:
        schema = onnx.defs.get_schema(kind, limits.opset)
        inputs = ["c"] * min(max(1, schema.min_input), schema.max_input)
        model = network("y = Identity (c)", target, {})
        node = model.proto.graph.node[1]
        node.op_type, node.name = kind, "it"
        del node.input[:]
        node.input.extend(inputs)
        node.output.extend(f"y{k}" for k in range(1, schema.min_output))
        node.attribute.extend(_required(schema))
        if kind in ("CastLike", "LayerNormalization", "Reciprocal"):
            assert lower(model, limits, target).model.proto.graph.node[1].op_type != kind
            continue
        with pytest.raises(ModelError, match=rf"{kind} 'it' cannot be made ready.*no such op"):
            lower(model, limits, target)


def _required(schema):
    """Any value for every attribute that a node must have."""
    kinds = onnx.defs.OpSchema.AttrType
    body = onnx.parser.parse_graph("body () => (float[1] z) { z = Constant <value_float=1.0> () }")
    values = {
        kinds.INT: 1,
        kinds.INTS: [1],
        kinds.STRING: "LEFT",
        kinds.FLOAT: 1.0,
        kinds.GRAPH: body,
    }
    return [
        onnx.helper.make_attribute(name, values[attribute.type])
        for name, attribute in schema.attributes.items()
        if attribute.required
    ]


@pytest.mark.parametrize(
    ("body", "has"),
    [
        ("y = Xor (b, b)", {XAVIER, ORIN}),
        ("y = NonZero (c)", {XAVIER, ORIN}),
        ("y = OneHot (k, two, v)", {XAVIER, ORIN}),
        ("y = IsInf (c)", {ORIN}),
        ("y = Hardmax (c)", {ORIN}),
        ("y = MaxUnpool <kernel_shape=[2, 2]> (c, i)", set()),
        ("y = Det (c)", set()),
    ],
)
def test_which_release_has_an_op(body, has):
    weights = {"b": np.ones(3, bool), "two": np.array(2), "i": np.zeros((1, 4, 6, 6), np.int64)}
    for target in ALL:
        try:
            lower(network(body, target, weights), read_target(target).limits, target)
        except ModelError as error:
            assert target not in has, error
        else:
            assert target in has


def test_a_target_of_ones_own_adds_to_a_table(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        """precisions = ["fp32"]
        multiples = {}
        [onnx]
        parser = "tensorrt-8.5"
        opset = 16
        unsupported = ["Relu"]
        plugins = ["Delegate"]
        [[onnx.lacks]]
        ops = ["Clip"]
        says = "it clips; use Relu"
        """
    )
    limits, shared = read_target(str(path)).limits, read_target(XAVIER).limits
    assert (limits.opset, limits.ir) == (16, shared.ir)
    assert limits.unsupported == (*shared.unsupported, "Relu")
    assert limits.plugins == (*shared.plugins, "Delegate")
    assert limits.lacks[:-1] == shared.lacks


def test_the_documents_table_is_read_as_it_stands(root, tmp_path):
    text = (root / "docs" / "deploy.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^ *```toml\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    path = tmp_path / "mine.toml"
    path.write_text('precisions = ["fp32"]\nmultiples = {}\n' + block)
    limits = read_target(str(path)).limits
    assert "MyDelegate" in limits.plugins
    row = limits.lacks[-1]
    assert (row.ops, row.computed) == (("TopK",), (1,))
    every = {field.name for field in dataclasses.fields(Lack)}
    conditions = re.search(r"# also: (.*)", block)
    assert conditions is not None
    assert set(conditions[1].split(", ")) | {"computed"} == every - {"says", "ops", "but"}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('parser = "tensorrt-7"', "'parser = tensorrt-7' is not one of tensorrt-10, tensorrt-8.2"),
        ('[[onnx.lacks]]\nsays = "no"\ncalculated = [1]', "calculated"),
        ("[[onnx.lacks]]\ncomputed = [1]", "says"),
        ('[[onnx.lacks]]\nsays = "no"\nreads = ["byte"]', "'byte' is no element type"),
    ],
)
def test_a_table_that_says_nonsense(tmp_path, line, says):
    path = tmp_path / "mine.toml"
    path.write_text(f'precisions = ["fp32"]\nmultiples = {{}}\n[onnx]\n{line}\n')
    with pytest.raises(UsageError, match="does not describe a target") as told:
        read_target(str(path))
    assert says in str(told.value)
