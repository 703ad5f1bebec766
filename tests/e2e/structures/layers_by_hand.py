"""Structures that are about a single layer and its weight."""

from __future__ import annotations

from pruned_by_hand import Case

DEPTHWISE = Case(
    "depthwise",
    """net (float[1,3,6,6] x) => (float[1,2,6,6] y)
    <float[4,3,1,1] stem_w, float[4,1,3,3] deep_w, float[4] deep_b, float[2,4,1,1] head_w>
    {
      s = Conv (x, stem_w)
      r = Relu (s)
      d = Conv <pads = [1,1,1,1], group = 4> (r, deep_w, deep_b)
      e = Clip (d)
      y = Conv (e, head_w)
    }""",
    {"stem_w": [0, 1, 3]},
    """net (float[1,3,6,6] x) => (float[1,2,6,6] y)
    <float[3,3,1,1] stem_w, float[3,1,3,3] deep_w, float[3] deep_b, float[2,3,1,1] head_w>
    {
      s = Conv (x, stem_w)
      r = Relu (s)
      d = Conv <pads = [1,1,1,1], group = 3> (r, deep_w, deep_b)
      e = Clip (d)
      y = Conv (e, head_w)
    }""",
    lambda w: {
        "stem_w": w["stem_w"][[0, 1, 3]],
        "deep_w": w["deep_w"][[0, 1, 3]],
        "deep_b": w["deep_b"][[0, 1, 3]],
        "head_w": w["head_w"][:, [0, 1, 3]],
    },
)

DEPTHWISE_MULTIPLIER = Case(
    "depthwise with two outputs per channel",
    """net (float[1,3,6,6] x) => (float[1,2,6,6] y)
    <float[4,3,1,1] stem_w, float[8,1,3,3] deep_w, float[2,8,1,1] head_w>
    {
      s = Conv (x, stem_w)
      d = Conv <pads = [1,1,1,1], group = 4> (s, deep_w)
      y = Conv (d, head_w)
    }""",
    {"stem_w": [1, 2]},
    """net (float[1,3,6,6] x) => (float[1,2,6,6] y)
    <float[2,3,1,1] stem_w, float[4,1,3,3] deep_w, float[2,4,1,1] head_w>
    {
      s = Conv (x, stem_w)
      d = Conv <pads = [1,1,1,1], group = 2> (s, deep_w)
      y = Conv (d, head_w)
    }""",
    lambda w: {
        "stem_w": w["stem_w"][[1, 2]],
        "deep_w": w["deep_w"][[2, 3, 4, 5]],
        "head_w": w["head_w"][:, [2, 3, 4, 5]],
    },
)

GROUPED = Case(
    "grouped",
    """net (float[1,3,6,6] x) => (float[1,2,6,6] y)
    <float[4,3,1,1] stem_w, float[6,2,3,3] pair_w, float[6] pair_b, float[2,6,1,1] head_w>
    {
      s = Conv (x, stem_w)
      r = Relu (s)
      d = Conv <pads = [1,1,1,1], group = 2> (r, pair_w, pair_b)
      y = Conv (d, head_w)
    }""",
    {"stem_w": [1, 3], "pair_w": [0, 2, 3, 5]},
    """net (float[1,3,6,6] x) => (float[1,2,6,6] y)
    <float[2,3,1,1] stem_w, float[4,1,3,3] pair_w, float[4] pair_b, float[2,4,1,1] head_w>
    {
      s = Conv (x, stem_w)
      r = Relu (s)
      d = Conv <pads = [1,1,1,1], group = 2> (r, pair_w, pair_b)
      y = Conv (d, head_w)
    }""",
    lambda w: {
        # the second of each group's two inputs; the first and third of each group's three outputs
        "stem_w": w["stem_w"][[1, 3]],
        "pair_w": w["pair_w"][[0, 2, 3, 5]][:, [1]],
        "pair_b": w["pair_b"][[0, 2, 3, 5]],
        "head_w": w["head_w"][:, [0, 2, 3, 5]],
    },
)


FLATTEN_GEMM = Case(
    "flatten to Gemm",
    """net (float[1,3,4,4] x) => (float[1,2] y)
    <float[3,3,3,3] stem_w, float[4,12] hidden_w, float[4] hidden_b, float[4,2] head_w>
    {
      s = Conv (x, stem_w)
      f = Flatten (s)
      h = Gemm <transB = 1> (f, hidden_w, hidden_b)
      r = Relu (h)
      y = Gemm (r, head_w)
    }""",
    {"stem_w": [0, 2], "hidden_w": [1, 3]},
    """net (float[1,3,4,4] x) => (float[1,2] y)
    <float[2,3,3,3] stem_w, float[2,8] hidden_w, float[2] hidden_b, float[2,2] head_w>
    {
      s = Conv (x, stem_w)
      f = Flatten (s)
      h = Gemm <transB = 1> (f, hidden_w, hidden_b)
      r = Relu (h)
      y = Gemm (r, head_w)
    }""",
    lambda w: {
        "stem_w": w["stem_w"][[0, 2]],
        # each channel of 2 x 2 positions is four columns
        "hidden_w": w["hidden_w"][[1, 3]][:, [0, 1, 2, 3, 8, 9, 10, 11]],
        "hidden_b": w["hidden_b"][[1, 3]],
        "head_w": w["head_w"][[1, 3]],
    },
)

RESHAPE_GEMM = Case(
    "reshape to Gemm",
    """net (float[1,3,4,4] x) => (float[1,2] y)
    <float[3,3,3,3] stem_w, float[12,2] head_w, float[2] head_b, int64[2] target = {1, 12}>
    {
      s = Conv (x, stem_w)
      f = Reshape (s, target)
      y = Gemm (f, head_w, head_b)
    }""",
    {"stem_w": [1, 2]},
    """net (float[1,3,4,4] x) => (float[1,2] y)
    <float[2,3,3,3] stem_w, float[8,2] head_w, float[2] head_b, int64[2] target = {1, 8}>
    {
      s = Conv (x, stem_w)
      f = Reshape (s, target)
      y = Gemm (f, head_w, head_b)
    }""",
    lambda w: {
        "stem_w": w["stem_w"][[1, 2]],
        "head_w": w["head_w"][[4, 5, 6, 7, 8, 9, 10, 11]],
    },
)


SHARED_WEIGHT = Case(
    "shared weight",
    """net (float[1,3,6,6] x) => (float[1,2,6,6] y)
    <float[4,3,1,1] p_w, float[4,3,3,3] q_w, float[5,4,1,1] both_w, float[5] both_b,
     float[2,10,1,1] head_w>
    {
      p = Conv (x, p_w)
      q = Conv <pads = [1,1,1,1]> (x, q_w)
      p1 = Conv (p, both_w, both_b)
      q1 = Conv (q, both_w, both_b)
      j = Concat <axis = 1> (p1, q1)
      y = Conv (j, head_w)
    }""",
    {"p_w": [0, 1, 3], "both_w": [0, 4]},
    """net (float[1,3,6,6] x) => (float[1,2,6,6] y)
    <float[3,3,1,1] p_w, float[3,3,3,3] q_w, float[2,3,1,1] both_w, float[2] both_b,
     float[2,4,1,1] head_w>
    {
      p = Conv (x, p_w)
      q = Conv <pads = [1,1,1,1]> (x, q_w)
      p1 = Conv (p, both_w, both_b)
      q1 = Conv (q, both_w, both_b)
      j = Concat <axis = 1> (p1, q1)
      y = Conv (j, head_w)
    }""",
    lambda w: {
        "p_w": w["p_w"][[0, 1, 3]],
        "q_w": w["q_w"][[0, 1, 3]],
        "both_w": w["both_w"][[0, 4]][:, [0, 1, 3]],
        "both_b": w["both_b"][[0, 4]],
        "head_w": w["head_w"][:, [0, 4, 5, 9]],
    },
)

REPEATED_WEIGHT = Case(
    "weight applied twice in a row",
    """net (float[1,3,6,6] x) => (float[1,2,6,6] y)
    <float[4,3,1,1] stem_w, float[4,4,3,3] again_w, float[2,4,1,1] head_w>
    {
      s = Conv (x, stem_w)
      a = Conv <pads = [1,1,1,1]> (s, again_w)
      r = Relu (a)
      b = Conv <pads = [1,1,1,1]> (r, again_w)
      y = Conv (b, head_w)
    }""",
    {"again_w": [0, 3]},
    """net (float[1,3,6,6] x) => (float[1,2,6,6] y)
    <float[2,3,1,1] stem_w, float[2,2,3,3] again_w, float[2,2,1,1] head_w>
    {
      s = Conv (x, stem_w)
      a = Conv <pads = [1,1,1,1]> (s, again_w)
      r = Relu (a)
      b = Conv <pads = [1,1,1,1]> (r, again_w)
      y = Conv (b, head_w)
    }""",
    lambda w: {
        "stem_w": w["stem_w"][[0, 3]],
        "again_w": w["again_w"][[0, 3]][:, [0, 3]],
        "head_w": w["head_w"][:, [0, 3]],
    },
)
