"""The table of ops and their rules for channels, read from top to bottom.

A rule is ``rule(op, walk) -> Labels``: it returns the labels of the outputs and states ties, sites,
counts and locks on the walk. An op that is not in the table locks what reaches it. One of a domain
other than ONNX's is written ``domain::op``.
"""

from __future__ import annotations

from reprune_onnx.analyzer.rules.attention import (
    attention,
    fused_attention,
    grouped_query_attention,
    multi_head_attention,
    rotary_embedding,
)
from reprune_onnx.analyzer.rules.branching import if_
from reprune_onnx.analyzer.rules.convolution import conv, conv_transpose
from reprune_onnx.analyzer.rules.elementwise import (
    affine,
    cast_like,
    dropout,
    elementwise,
    image_scaler,
    prelu,
    residual_add,
    unary,
)
from reprune_onnx.analyzer.rules.fused import (
    biased,
    fused_conv,
    fused_gemm,
    fused_matmul,
    pool_channels_last,
    skip_layer_norm,
)
from reprune_onnx.analyzer.rules.indexing import (
    gather_elements,
    gather_nd,
    grid_sample,
    scatter_elements,
    scatter_nd,
    top_k,
)
from reprune_onnx.analyzer.rules.linear import einsum, gemm, matmul
from reprune_onnx.analyzer.rules.normalization import (
    along_channels,
    batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
    normalize,
)
from reprune_onnx.analyzer.rules.pooling import pool, roi_align
from reprune_onnx.analyzer.rules.recurrent import recurrent
from reprune_onnx.analyzer.rules.reduction import arg, reduce
from reprune_onnx.analyzer.rules.reshaping import (
    constant_of_shape,
    depth_to_space,
    expand,
    flatten,
    reshape,
    space_to_depth,
    squeeze,
    tile,
    transpose,
    unsqueeze,
)
from reprune_onnx.analyzer.rules.slicing import concat, crop, gather, pad, resize, slice_, split
from reprune_onnx.analyzer.walk import Rule

TABLE: list[tuple[str, Rule]] = [
    # layers with weights
    ("Conv", conv),
    ("ConvTranspose", conv_transpose),
    ("Gemm", gemm),
    ("MatMul", matmul),
    ("Einsum", einsum),
    ("GRU LSTM RNN", recurrent),
    # one value in, one value out
    (
        "Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Cast Ceil Celu Clip Cos Cosh Elu"
        " Erf Exp Floor Gelu HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Log"
        " Mish Neg Not ParametricSoftplus Reciprocal Relu Round ScaledTanh Selu Shrink Sigmoid"
        " Sign Sin Sinh Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu",
        unary,
    ),
    ("Dropout", dropout),
    ("CastLike", cast_like),
    ("Affine", affine),
    ("ImageScaler", image_scaler),
    ("PRelu", prelu),
    # element by element, with broadcasting
    ("Add Sub Sum", residual_add),
    (
        "And BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less LessOrEqual Max"
        " Mean Min Mod Mul Or Pow Where Xor",
        elementwise,
    ),
    # normalisation
    ("BatchNormalization", batch_norm),
    ("InstanceNormalization", instance_norm),
    ("GroupNormalization", group_norm),
    ("LayerNormalization RMSNormalization", layer_norm),
    ("Hardmax LogSoftmax LpNormalization MeanVarianceNormalization Softmax", normalize),
    ("LRN", along_channels),
    # attention
    ("Attention", attention),
    ("RotaryEmbedding com.microsoft::RotaryEmbedding", rotary_embedding),
    # windows
    (
        "AveragePool GlobalAveragePool GlobalLpPool GlobalMaxPool LpPool MaxPool",
        pool,
    ),
    ("RoiAlign", roi_align),
    # sums and extremes along axes
    (
        "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd"
        " ReduceSum ReduceSumSquare",
        reduce,
    ),
    ("ArgMax ArgMin", arg),
    ("TopK", top_k),
    # moving data
    ("DepthToSpace", depth_to_space),
    ("ConstantOfShape", constant_of_shape),
    ("Expand", expand),
    ("Flatten", flatten),
    ("Reshape", reshape),
    ("SpaceToDepth", space_to_depth),
    ("Squeeze", squeeze),
    ("Tile", tile),
    ("Transpose", transpose),
    ("Unsqueeze", unsqueeze),
    ("Concat", concat),
    ("Crop", crop),
    ("Gather", gather),
    ("GatherElements", gather_elements),
    ("GatherND", gather_nd),
    ("GridSample", grid_sample),
    ("Pad", pad),
    ("Resize Upsample", resize),
    ("Scatter ScatterElements", scatter_elements),
    ("ScatterND", scatter_nd),
    ("Slice", slice_),
    ("Split", split),
    # either of two
    ("If", if_),
    # what ONNX Runtime's optimizer makes of several of the above
    ("com.microsoft::FusedConv", fused_conv),
    ("com.microsoft::FusedGemm", fused_gemm),
    ("com.microsoft::FusedMatMul com.microsoft::TransposeMatMul", fused_matmul),
    ("com.microsoft::Gelu com.microsoft::QuickGelu", unary),
    ("com.microsoft::BiasAdd com.microsoft::BiasGelu com.microsoft::FastGelu", biased),
    (
        "SimplifiedLayerNormalization com.microsoft::LayerNormalization"
        " com.microsoft::SimplifiedLayerNormalization",
        layer_norm,
    ),
    (
        "com.microsoft::SkipLayerNormalization com.microsoft::SkipSimplifiedLayerNormalization",
        skip_layer_norm,
    ),
    ("com.microsoft::Attention", fused_attention),
    ("com.microsoft::MultiHeadAttention", multi_head_attention),
    ("com.microsoft::GroupQueryAttention", grouped_query_attention),
    ("com.microsoft::NhwcMaxPool", pool_channels_last),
]


def _read(table: list[tuple[str, Rule]]) -> dict[tuple[str, str], Rule]:
    rules: dict[tuple[str, str], Rule] = {}
    for names, rule in table:
        for name in names.split():
            domain, _, kind = name.rpartition("::")
            if (domain, kind) in rules:
                raise ValueError(f"two rules for op {name}")
            rules[domain, kind] = rule
    return rules


RULES = _read(TABLE)

ELEMENTWISE = frozenset({unary, elementwise, residual_add, prelu, dropout})
"""The rules of ops whose results are computed element by element."""
