"""Every op of the bridge's table, in many forms, against ONNX Runtime."""

from dataclasses import dataclass, field

import numpy as np
import onnx
import pytest
from attention_cases import ATTENTION
from onnx import TensorProto, helper, numpy_helper
from ort_version import ort_is_older_than
from recurrent_cases import RECURRENT

from reprune_onnx.errors import ModelError
from reprune_onnx.runtime.ort import Session
from reprune_onnx.types import Model

torch = pytest.importorskip("torch", reason="the bridge needs PyTorch")

from reprune_onnx.training.bridge import torch_module
from reprune_onnx.training.bridge.ops import OPS, TABLE, _read

RNG = np.random.default_rng(0)
F32 = np.float32


def image(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape or (2, 4, 7, 9)).astype(F32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def f32(*values: float) -> np.ndarray:
    return np.array(values, dtype=F32)


@dataclass
class Case:
    """``data`` are graph inputs, ``constants`` follow them; None is an input left out."""

    op: str
    data: list
    constants: list = field(default_factory=list)
    attrs: dict = field(default_factory=dict)
    opset: int = 17
    outputs: int = 1

    def model(self) -> onnx.ModelProto:
        names, inputs, initializers = [], [], []
        for k, value in enumerate([*self.data, *self.constants]):
            if value is None:
                names.append("")
                continue
            names.append(f"t{k}")
            tensor = numpy_helper.from_array(np.asarray(value), f"t{k}")
            if k < len(self.data):
                shape = [None] * np.ndim(value)
                inputs.append(helper.make_tensor_value_info(f"t{k}", tensor.data_type, shape))
            else:
                initializers.append(tensor)
        outputs = [f"y{k}" for k in range(self.outputs)]
        domain, _, kind = self.op.rpartition("::")
        node = helper.make_node(kind, names, outputs, name="node", domain=domain, **self.attrs)
        ports = [onnx.ValueInfoProto(name=n) for n in outputs]
        graph = helper.make_graph([node], "g", inputs, ports, initializers)
        opset = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opset, ir_version=8)

    def __str__(self) -> str:
        attrs = ",".join(f"{k}={v}" for k, v in self.attrs.items())
        return f"{self.op}-{self.opset}-{attrs}"[:70].replace(" ", "")


X = image()
W = image(6, 4, 3, 3)
COND = RNG.random((2, 4, 7, 9)) > 0.5
BITS = RNG.integers(0, 99, (3, 4)).astype(np.int32)
POSITIVE = np.abs(X) + F32(0.1)
SMALL = np.clip(X, -0.9, 0.9)
STATS = [image(4), image(4), image(4), np.abs(image(4)) + F32(0.5)]

SMOOTH = "Abs Asin Atan Ceil Cos Cosh Erf Exp Floor Identity Neg Relu Sigmoid Sign Sin Sinh Softplus Softsign Tan Tanh Round HardSwish Mish Asinh Atanh Acos"  # noqa: E501 (one list)

KINDS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")

CASES = [
    *(Case(op, [SMALL], opset=18) for op in SMOOTH.split()),
    *(Case(op, [POSITIVE]) for op in ("Log", "Sqrt", "Reciprocal")),
    Case("Acosh", [POSITIVE + 1]),
    Case("Not", [COND]),
    Case("BitwiseNot", [BITS], opset=18),
    Case("IsNaN", [np.where(COND, np.nan, X).astype(F32)]),
    Case("IsInf", [np.where(COND, -np.inf, X).astype(F32)]),
    Case("IsInf", [np.where(COND, -np.inf, X).astype(F32)], attrs={"detect_negative": 0}),
    Case("Elu", [X], attrs={"alpha": 0.7}),
    Case("Celu", [X], attrs={"alpha": 0.7}),
    Case("Selu", [X]),
    Case("Swish", [X], attrs={"alpha": 1.5}, opset=24),
    Case("Gelu", [X], opset=20),
    Case("Gelu", [X], attrs={"approximate": "tanh"}, opset=20),
    Case("HardSigmoid", [X * 3], attrs={"alpha": 0.25}),
    Case("LeakyRelu", [X]),
    Case("ThresholdedRelu", [X], attrs={"alpha": 0.4}),
    Case("Shrink", [X], attrs={"bias": 0.1, "lambd": 0.3}),
    Case("ScaledTanh", [X], attrs={"alpha": 1.2, "beta": 0.5}, opset=7),
    Case("ParametricSoftplus", [X], attrs={"alpha": 1.2, "beta": 0.5}, opset=7),
    Case("Affine", [X], attrs={"alpha": 1.2, "beta": 0.5}, opset=7),
    Case("ImageScaler", [X], attrs={"scale": 2.0, "bias": [0.1, 0.2, 0.3, 0.4]}, opset=7),
    Case("PRelu", [X], [image(4, 1, 1)]),
    Case("PRelu", [X], [image(1)], opset=9),
    Case("Clip", [X], attrs={"min": -0.2, "max": 0.5}, opset=7),
    Case("Clip", [X], [np.array(-0.2, F32)]),
    Case("Clip", [X], [None, np.array(0.5, F32)]),
    Case("Clip", [ints(1, 5, 9)], [np.array(2), np.array(6)], opset=13),
    Case("Dropout", [X], opset=7, attrs={"ratio": 0.3}),
    Case("Dropout", [X], [np.array(0.3, F32)], opset=13),
    *(Case(op, [X], [image(4, 1, 1)]) for op in ("Add", "Sub", "Mul", "Div", "Pow")[:4]),
    Case("Pow", [POSITIVE], [np.array(1.5, F32)]),
    Case("Pow", [X], [np.array(2)]),
    Case("Div", [ints(-7, 7, 9)], [ints(2, 2, -4)]),
    Case("Mod", [ints(-7, 7, 9)], [ints(3, 3, -4)]),
    Case("Mod", [X], [np.array(0.3, F32)], attrs={"fmod": 1}),
    *(Case(op, [X, image(), image()]) for op in ("Sum", "Max", "Min", "Mean")),
    *(Case(op, [COND], [~COND]) for op in ("And", "Or", "Xor")),
    *(Case(op, [BITS], [BITS[::-1]], opset=18) for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")),
    *(
        Case(op, [BITS], [BITS[::-1].copy()])
        for op in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
    ),
    Case("Where", [COND], [X, np.array(0.5, F32)]),
    # layers
    Case("Conv", [X], [W, image(6)], {"pads": [1, 1, 1, 1]}, opset=7),
    Case("Conv", [X], [W], {"pads": [0, 1, 2, 3], "strides": [2, 1], "dilations": [1, 2]}),
    Case("Conv", [X], [image(4, 1, 3, 3)], {"group": 4, "auto_pad": "SAME_UPPER"}),
    Case("Conv", [X], [W], {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    Case("Conv", [X], [W], {"auto_pad": "VALID"}),
    Case("Conv", [image(2, 4, 9)], [image(6, 4, 3)], {"pads": [1, 1]}),
    Case("Conv", [image(1, 2, 5, 5, 5)], [image(3, 2, 3, 3, 3)]),
    Case("ConvTranspose", [X], [image(4, 3, 3, 3), image(3)], {"strides": [2, 2]}),
    Case("ConvTranspose", [X], [image(4, 3, 3, 2)], {"group": 2, "pads": [1, 0, 2, 1]}),
    Case(
        "ConvTranspose",
        [X],
        [image(4, 3, 3, 3), image(3)],
        {"strides": [2, 3], "pads": [1, 1, 1, 1], "output_padding": [1, 2]},
    ),
    Case(
        "ConvTranspose",
        [X],
        [image(4, 3, 4, 4)],
        {"strides": [2, 2], "output_shape": [15, 18], "kernel_shape": [4, 4]},
    ),
    Case(
        "ConvTranspose",
        [X],
        [image(4, 3, 3, 3), image(3)],
        {"strides": [2, 2], "auto_pad": "VALID", "output_shape": [16, 20]},
    ),
    *(
        Case("ConvTranspose", [X], [image(4, 3, 3, 3)], {"strides": [2, 2], "auto_pad": p})
        for p in ("SAME_UPPER", "SAME_LOWER")
    ),
    Case("ConvTranspose", [image(2, 4, 9)], [image(4, 3, 3)], {"dilations": [2]}),
    Case("Gemm", [image(3, 4)], [image(4, 5), image(5)], opset=7),
    Case("Gemm", [image(4, 3)], [image(5, 4), image(3, 1)], {"transA": 1, "transB": 1}),
    Case("Gemm", [image(3, 4)], [image(4, 5), image(5)], {"alpha": 0.5, "beta": 2.0}),
    Case("Gemm", [image(3, 4)], [image(4, 5)]),
    Case("MatMul", [image(2, 3, 4)], [image(4, 5)]),
    Case("MatMul", [image(2, 3, 4), image(2, 4, 5)]),
    Case("Einsum", [image(2, 3, 4)], [image(5, 4)], {"equation": "bsi, oi -> bso"}),
    # normalisation
    Case("BatchNormalization", [X], STATS, {"epsilon": 1e-3}),
    *(Case("BatchNormalization", [X], STATS, opset=v) for v in (7, 9, 14, 15)),
    Case("InstanceNormalization", [X], STATS[:2]),
    Case("GroupNormalization", [X], [image(2), image(2)], {"num_groups": 2}, opset=18),
    Case("GroupNormalization", [X], [image(4), image(4)], {"num_groups": 2}, opset=21),
    Case("LayerNormalization", [X], [image(9), image(9)]),
    Case("LayerNormalization", [X], [image(7, 9)], {"axis": 2}),
    Case("LayerNormalization", [X], [image(7, 9), image(7, 9)], {"axis": -2}, outputs=3),
    Case("RMSNormalization", [X], [image(9)], opset=23),
    Case("LpNormalization", [X], attrs={"axis": 1}),
    Case("LpNormalization", [X], attrs={"axis": 2, "p": 1}),
    Case("MeanVarianceNormalization", [X]),
    Case("LRN", [X], attrs={"size": 3, "alpha": 0.1}),
    Case("LRN", [X], attrs={"size": 5, "alpha": 0.1, "bias": 2.0}),
    *(Case(op, [X], opset=9) for op in ("Softmax", "LogSoftmax", "Hardmax")),
    *(Case(op, [X], attrs={"axis": 1}) for op in ("Softmax", "LogSoftmax", "Hardmax")),
    # windows
    Case("MaxPool", [X], attrs={"kernel_shape": [3, 3], "strides": [2, 2]}),
    Case("MaxPool", [X], attrs={"kernel_shape": [2, 2], "pads": [0, 1, 1, 0]}),
    Case("MaxPool", [X], attrs={"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]}),
    Case("MaxPool", [X], attrs={"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    Case("MaxPool", [X], attrs={"kernel_shape": [2, 2], "dilations": [2, 2]}),
    Case("MaxPool", [X], attrs={"kernel_shape": [2, 2], "auto_pad": "SAME_UPPER"}),
    Case("AveragePool", [X], attrs={"kernel_shape": [3, 3], "strides": [2, 2]}, opset=7),
    Case("AveragePool", [X], attrs={"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    Case("AveragePool", [X], attrs={"kernel_shape": [3, 3], "pads": [0, 1, 2, 1]}),
    Case(
        "AveragePool",
        [X],
        attrs={"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1},
    ),
    Case("AveragePool", [X], attrs={"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    Case("AveragePool", [X], attrs={"kernel_shape": [2, 3], "auto_pad": "SAME_LOWER"}),
    *(
        Case(
            "AveragePool",
            [X],
            attrs={"kernel_shape": [3, 3], "count_include_pad": k, **how},
            opset=19,
        )
        for k in (0, 1)
        for how in (
            {"strides": [2, 2], "pads": [1, 1, 1, 1]},
            {"strides": [2, 2], "pads": [0, 1, 1, 0]},
            {"strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1},
            {"strides": [2, 3], "auto_pad": "SAME_LOWER"},
        )
    ),
    Case(
        "LpPool",
        [X],
        attrs={"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1, 0, 0, 1], "p": 3},
        opset=18,
    ),
    Case("LpPool", [X], attrs={"kernel_shape": [3, 3], "strides": [2, 2], "p": 3}),
    *(Case(op, [X]) for op in ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")),
    # reductions
    *(
        Case(f"Reduce{kind}", [POSITIVE], attrs={"axes": [1, -1], "keepdims": keep}, opset=11)
        for kind in KINDS
        for keep in (0, 1)
    ),
    Case("ReduceMean", [X], [ints(2, 3)], opset=18),
    Case("ReduceSum", [X], [ints(1)], {"keepdims": 0}, opset=13),
    Case("ReduceSum", [X], [ints()], {"noop_with_empty_axes": 1}, opset=13),
    Case("ReduceMax", [X], attrs={"keepdims": 0}),
    Case("ArgMax", [X], attrs={"axis": 1}),
    Case("ArgMin", [BITS], attrs={"axis": 0, "keepdims": 0, "select_last_index": 1}),
    Case("TopK", [X], [ints(3)], {"axis": 1}, outputs=2),
    Case("TopK", [X], [ints(2)], {"largest": 0}, outputs=2),
    Case("CumSum", [X], [np.array(1)], {"exclusive": 1, "reverse": 1}),
    # moving data
    Case("Reshape", [X], [ints(2, 0, -1)]),
    Case("Flatten", [X], attrs={"axis": 2}),
    Case("Flatten", [X], attrs={"axis": -1}),
    Case("Transpose", [X]),
    Case("Transpose", [X], attrs={"perm": [0, 2, 3, 1]}),
    Case("Squeeze", [image(1, 3, 1)], attrs={"axes": [0, -1]}, opset=11),
    Case("Squeeze", [image(1, 3, 1)], [ints(2)], opset=13),
    Case("Squeeze", [image(1, 1)], opset=13),
    Case("Unsqueeze", [image(3)], attrs={"axes": [0, 2]}, opset=11),
    Case("Unsqueeze", [image(3)], [ints(0, -1)], opset=13),
    Case("Expand", [image(3, 1)], [ints(2, 1, 4)]),
    Case("Tile", [image(2, 3)], [ints(2, 3)]),
    Case("DepthToSpace", [image(2, 8, 3, 4)], attrs={"blocksize": 2}),
    Case("DepthToSpace", [image(2, 8, 3, 4)], attrs={"blocksize": 2, "mode": "CRD"}),
    Case("SpaceToDepth", [image(2, 3, 4, 6)], attrs={"blocksize": 2}),
    Case("Concat", [X], [image(2, 2, 7, 9)], {"axis": 1}),
    Case("Slice", [X], attrs={"starts": [1, -3], "ends": [9, -1], "axes": [1, 2]}, opset=9),
    Case("Slice", [X], [ints(5, 1), ints(-999, 2**31), ints(3, 1), ints(-2, 1)]),
    Case("Split", [X], attrs={"axis": 1, "split": [1, 3]}, opset=11, outputs=2),
    Case("Split", [X], [ints(1, 3)], {"axis": 1}, outputs=2),
    Case("Split", [X], attrs={"axis": 1}, opset=13, outputs=2),
    Case("Split", [X], attrs={"axis": 2, "num_outputs": 4}, opset=18, outputs=4),
    Case("Gather", [X], [ints(2, -1)], {"axis": 1}),
    Case("Gather", [X], [np.array(1)], {"axis": 2}),
    Case("Gather", [image(5)], [ints(0, 3).reshape(2, 1)]),
    Case("GatherElements", [image(2, 3)], [ints(0, -1, 1, 0).reshape(2, 2)], {"axis": 1}),
    Case("GatherND", [image(2, 3, 4)], [ints(0, 1, 1, 2).reshape(2, 2)]),
    Case("ScatterND", [image(4, 3)], [ints(1, 3).reshape(2, 1), image(2, 3)]),
    Case("Pad", [X], attrs={"pads": [0, 1, 0, 2, 0, 0, 1, 0], "value": 0.5}, opset=7),
    Case("Pad", [X], [ints(0, 0, 1, -2, 0, 0, 2, 1), np.array(0.5, F32)], opset=13),
    Case("Pad", [X], [ints(1, 2), None, ints(3)], opset=18),
    *(
        Case("Pad", [X], [ints(0, 1, 1, 2, 0, 0, 2, 1)], {"mode": mode}, opset=19)
        for mode in ("reflect", "edge", "wrap")
    ),
    Case("Crop", [X], attrs={"border": [1, 2, 3, 1]}, opset=7),
    # sizes
    Case("Upsample", [X], attrs={"scales": [1.0, 1.0, 2.0, 3.0]}, opset=7),
    Case("Upsample", [X], [f32(1, 1, 2, 3)], {"mode": "linear"}, opset=9),
    Case("Resize", [X], [f32(1, 1, 2, 0.5)], {"mode": "linear"}, opset=10),
    Case("Resize", [X], [f32(1, 1, 1.7, 0.6)], opset=10),
    *(
        Case(
            "Resize",
            [X],
            [None, f32(1, 1, 2.3, 0.7)],
            {"mode": mode, "coordinate_transformation_mode": where},
            opset=13,
        )
        for mode in ("nearest", "linear", "cubic")
        for where in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")
    ),
    *(
        Case(
            "Resize",
            [X],
            [None, f32(1, 1, 2, 0.5)],
            {"nearest_mode": rounding, "coordinate_transformation_mode": "asymmetric"},
            opset=13,
        )
        for rounding in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
    ),
    Case("Resize", [X], [None, None, ints(2, 4, 11, 5)], {"mode": "linear"}, opset=13),
    Case("Resize", [X], [None, f32(2, 0.5)], {"mode": "linear", "axes": [2, 3]}, opset=18),
    *(
        Case(
            "Resize",
            [X],
            [None, None, ints(18, 15)],
            {"mode": "linear", "axes": [2, 3], "keep_aspect_ratio_policy": policy},
            opset=19,
        )
        for policy in ("not_larger", "not_smaller", "stretch")
    ),
    Case(
        "Resize",
        [X],
        [None, f32(1, 1, 2, 0.5)],
        {"mode": "cubic", "exclude_outside": 1, "cubic_coeff_a": -0.5},
        opset=13,
    ),
    # recurrent layers
    *(
        Case(op, data, constants, attrs, opset, 3 if op == "LSTM" else 2)
        for opset in (7, 14, 22)
        for op, data, constants, attrs in RECURRENT
    ),
    # attention, and what ONNX Runtime's optimizer makes
    *(
        Case(op, data, constants, attrs, opset, n)
        for op, data, constants, attrs, opset, n in ATTENTION
    ),
    # numbers
    Case("Cast", [X], attrs={"to": TensorProto.INT64}),
    Case("Cast", [BITS], attrs={"to": TensorProto.FLOAT}),
    Case("Cast", [BITS], attrs={"to": TensorProto.BOOL}),
    Case("CastLike", [BITS], [f32(1)]),
    Case("Shape", [X]),
    Case("Shape", [X], attrs={"start": 1, "end": -1}),
    Case("Size", [X]),
    Case("ConstantOfShape", [ints(2, 3)]),
    Case(
        "ConstantOfShape",
        [ints(2, 3)],
        attrs={"value": helper.make_tensor("v", TensorProto.INT64, [1], [7])},
    ),
    Case("Range", [np.array(1)], [np.array(9), np.array(3)]),
    Case("NonZero", [COND]),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_op_computes_what_onnx_runtime_computes(case):
    if case.opset > 22 and ort_is_older_than("1.23"):
        pytest.skip("ONNX Runtime 1.23 is the first that computes it")
    proto = case.model()
    names = [f"y{k}" for k in range(case.outputs)]
    feeds = {i.name: np.asarray(d) for i, d in zip(proto.graph.input, case.data, strict=True)}
    expected = Session(proto, optimize=False).run(feeds)
    module = torch_module(Model(proto))
    outputs = module(*[torch.from_numpy(feeds[n].copy()) for n in module.input_names])
    for name, value in zip(
        names, outputs if isinstance(outputs, tuple) else (outputs,), strict=True
    ):
        y = value.detach().numpy()
        assert y.dtype == expected[name].dtype
        assert y.shape == expected[name].shape
        np.testing.assert_allclose(y, expected[name], rtol=2e-5, atol=2e-5)


def test_every_op_of_the_table_was_compared():
    assert {case.op for case in CASES} | {"If"} == set(OPS)  # which test_branches.py compares


def test_two_entries_for_an_op_fail():
    with pytest.raises(ValueError, match="two entries for op Conv"):
        _read([*TABLE, TABLE[0]])


@pytest.mark.parametrize(
    ("case", "what"),
    [
        (Case("MaxPool", [X], attrs={"kernel_shape": [2, 2]}, outputs=2), "indices"),
        (Case("Resize", [X], [None, f32(1, 1, 2, 2)], {"antialias": 1}, opset=18), "antialias"),
        (Case("GatherND", [X], [ints(1).reshape(1, 1)], {"batch_dims": 1}), "batch_dims"),
        (
            Case("AveragePool", [X], attrs={"kernel_shape": [2, 2], "dilations": [2, 2]}, opset=19),
            "dilated",
        ),
        (Case("Det", [image(3, 3)]), "has no op Det"),
        (Case("Abs", [X], opset=6), "opset 6"),
    ],
    ids=str,
)
def test_what_the_bridge_lacks_is_named(case, what):
    with pytest.raises(ModelError, match=what):
        torch_module(Model(case.model()))
