"""The table of ops in PyTorch, read from top to bottom.

An entry is ``make(node) -> function``: attributes are read once, the function is called with
tensors. It holds for every opset from 7 on; an entry refuses, with the node's name, what it lacks.
An op of a domain other than ONNX's is written ``domain::op``.
"""

from __future__ import annotations

from collections.abc import Callable

from reprune_onnx.training.bridge.node import Function, Node
from reprune_onnx.training.bridge.ops import (
    attention,
    branching,
    elementwise,
    fused,
    linear,
    normalization,
    numbers,
    pooling,
    reduction,
    reshaping,
    slicing,
    unary,
)
from reprune_onnx.training.bridge.ops.convolution import conv, conv_transpose
from reprune_onnx.training.bridge.ops.recurrent import recurrent
from reprune_onnx.training.bridge.ops.resizing import resize

Make = Callable[[Node], Function]

TABLE: list[tuple[str, Make]] = [
    # layers with weights
    ("Conv", conv),
    ("ConvTranspose", conv_transpose),
    ("Gemm", linear.gemm),
    ("MatMul", linear.matmul),
    ("Einsum", linear.einsum),
    ("GRU LSTM RNN", recurrent),
    # one value in, one value out
    (unary.PLAIN, unary.without_attributes),
    ("Affine", unary.affine),
    ("Celu", unary.celu),
    ("Clip", unary.clip),
    ("Dropout", unary.dropout),
    ("Elu", unary.elu),
    ("Gelu", unary.gelu),
    ("HardSigmoid", unary.hard_sigmoid),
    ("ImageScaler", unary.image_scaler),
    ("IsInf", unary.is_inf),
    ("LeakyRelu", unary.leaky_relu),
    ("ParametricSoftplus", unary.parametric_softplus),
    ("PRelu", unary.prelu),
    ("ScaledTanh", unary.scaled_tanh),
    ("Selu", unary.selu),
    ("Shrink", unary.shrink),
    ("Swish", unary.swish),
    ("ThresholdedRelu", unary.thresholded_relu),
    # element by element, with broadcasting
    (elementwise.BINARY, elementwise.binary),
    ("Div", elementwise.div),
    ("Mean", elementwise.mean),
    ("Mod", elementwise.mod),
    ("Pow", elementwise.power),
    ("Where", elementwise.where),
    # normalisation
    ("BatchNormalization", normalization.batch_norm),
    ("InstanceNormalization", normalization.instance_norm),
    ("GroupNormalization", normalization.group_norm),
    ("LayerNormalization", normalization.layer_norm),
    ("LpNormalization", normalization.lp_norm),
    ("MeanVarianceNormalization", normalization.mean_variance),
    ("LRN", normalization.lrn),
    ("RMSNormalization", normalization.rms_norm),
    ("Hardmax LogSoftmax Softmax", normalization.softmax),
    # attention
    ("Attention", attention.attention),
    ("RotaryEmbedding com.microsoft::RotaryEmbedding", attention.rotary_embedding),
    # windows
    ("MaxPool", pooling.max_pool),
    ("AveragePool", pooling.average_pool),
    ("LpPool", pooling.lp_pool),
    ("GlobalAveragePool GlobalLpPool GlobalMaxPool", pooling.global_pool),
    # sums and extremes along axes
    (reduction.REDUCTIONS, reduction.reduce),
    ("ArgMax ArgMin", reduction.arg),
    ("CumSum", reduction.cumulative_sum),
    ("TopK", reduction.top_k),
    # one of two graphs
    ("If", branching.branch),
    # moving data
    ("DepthToSpace", reshaping.depth_to_space),
    ("Expand", reshaping.expand),
    ("Flatten", reshaping.flatten),
    ("Reshape", reshaping.reshape),
    ("SpaceToDepth", reshaping.space_to_depth),
    ("Squeeze", reshaping.squeeze),
    ("Tile", reshaping.tile),
    ("Transpose", reshaping.transpose),
    ("Unsqueeze", reshaping.unsqueeze),
    ("Concat", slicing.concat),
    ("Crop", slicing.crop),
    ("Gather", slicing.gather),
    ("GatherElements", slicing.gather_elements),
    ("GatherND", slicing.gather_nd),
    ("Pad", slicing.pad),
    ("Resize Upsample", resize),
    ("ScatterND", slicing.scatter_nd),
    ("Slice", slicing.slice_),
    ("Split", slicing.split),
    # numbers
    ("Cast", numbers.cast),
    ("CastLike", numbers.cast_like),
    ("ConstantOfShape", numbers.constant_of_shape),
    ("NonZero", numbers.non_zero),
    ("Range", numbers.range_),
    ("Shape", numbers.shape),
    ("Size", numbers.size),
    # what ONNX Runtime's optimizer makes of several of the above
    ("com.microsoft::FusedConv", fused.fused_conv),
    ("com.microsoft::FusedGemm", fused.fused_gemm),
    ("com.microsoft::FusedMatMul com.microsoft::TransposeMatMul", fused.fused_matmul),
    ("com.microsoft::Gelu", unary.gelu),
    ("com.microsoft::QuickGelu", fused.quick_gelu),
    ("com.microsoft::BiasGelu com.microsoft::FastGelu", fused.biased),
    ("SimplifiedLayerNormalization", normalization.rms_norm),
    (
        "com.microsoft::SkipLayerNormalization com.microsoft::SkipSimplifiedLayerNormalization",
        fused.skip_layer_norm,
    ),
    ("com.microsoft::Attention", attention.fused_attention),
    ("com.microsoft::MultiHeadAttention", attention.multi_head_attention),
]


def _read(table: list[tuple[str, Make]]) -> dict[str, Make]:
    ops: dict[str, Make] = {}
    for names, make in table:
        for name in names.split():
            if name in ops:
                raise ValueError(f"two entries for op {name}")
            ops[name] = make
    return ops


OPS = _read(TABLE)
