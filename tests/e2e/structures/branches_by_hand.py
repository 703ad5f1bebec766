"""Structures whose branches part and meet: residuals, Concat, Split, gates, shortcuts."""

from __future__ import annotations

from dataclasses import replace

from pruned_by_hand import Case

RESIDUAL = Case(
    "residual",
    """net (float[1,3,6,6] x) => (float[1,2,6,6] y)
    <float[4,3,3,3] stem_w, float[4] stem_b, float[5,4,3,3] a_w, float[4,5,1,1] b_w,
     float[5] a_gamma, float[5] a_beta, float[5] a_mean, float[5] a_var, float[2,4,1,1] head_w>
    {
      [stem] c = Conv <pads = [1,1,1,1]> (x, stem_w, stem_b)
      [stem_relu] s = Relu (c)
      [a] a1 = Conv <pads = [1,1,1,1]> (s, a_w)
      [a_bn] a2 = BatchNormalization (a1, a_gamma, a_beta, a_mean, a_var)
      [a_relu] a3 = Relu (a2)
      [b] b1 = Conv (a3, b_w)
      [add] t = Add (s, b1)
      [head] y = Conv (t, head_w)
    }""",
    {"stem_w": [0, 2, 3], "a_w": [1, 4]},
    """net (float[1,3,6,6] x) => (float[1,2,6,6] y)
    <float[3,3,3,3] stem_w, float[3] stem_b, float[2,3,3,3] a_w, float[3,2,1,1] b_w,
     float[2] a_gamma, float[2] a_beta, float[2] a_mean, float[2] a_var, float[2,3,1,1] head_w>
    {
      [stem] c = Conv <pads = [1,1,1,1]> (x, stem_w, stem_b)
      [stem_relu] s = Relu (c)
      [a] a1 = Conv <pads = [1,1,1,1]> (s, a_w)
      [a_bn] a2 = BatchNormalization (a1, a_gamma, a_beta, a_mean, a_var)
      [a_relu] a3 = Relu (a2)
      [b] b1 = Conv (a3, b_w)
      [add] t = Add (s, b1)
      [head] y = Conv (t, head_w)
    }""",
    lambda w: {
        "stem_w": w["stem_w"][[0, 2, 3]],
        "stem_b": w["stem_b"][[0, 2, 3]],
        "a_w": w["a_w"][[1, 4]][:, [0, 2, 3]],
        "a_gamma": w["a_gamma"][[1, 4]],
        "a_beta": w["a_beta"][[1, 4]],
        "a_mean": w["a_mean"][[1, 4]],
        "a_var": w["a_var"][[1, 4]],
        "b_w": w["b_w"][[0, 2, 3]][:, [1, 4]],
        "head_w": w["head_w"][:, [0, 2, 3]],
    },
)

PROJECTED_RESIDUAL = Case(
    "projected residual",
    """net (float[1,3,6,6] x) => (float[1,2] y)
    <float[4,3,3,3] stem_w, float[5,4,3,3] a_w, float[6,5,3,3] b_w, float[6] b_b,
     float[6,4,1,1] short_w, float[2,6] head_w, float[2] head_b>
    {
      s = Conv <pads = [1,1,1,1]> (x, stem_w)
      r = Relu (s)
      a1 = Conv <pads = [1,1,1,1], strides = [2,2]> (r, a_w)
      a2 = Relu (a1)
      b1 = Conv <pads = [1,1,1,1]> (a2, b_w, b_b)
      p = Conv <strides = [2,2]> (r, short_w)
      t = Add (b1, p)
      u = Relu (t)
      g = GlobalAveragePool (u)
      f = Flatten (g)
      y = Gemm <transB = 1> (f, head_w, head_b)
    }""",
    {"short_w": [1, 2, 5], "stem_w": [3]},
    """net (float[1,3,6,6] x) => (float[1,2] y)
    <float[1,3,3,3] stem_w, float[5,1,3,3] a_w, float[3,5,3,3] b_w, float[3] b_b,
     float[3,1,1,1] short_w, float[2,3] head_w, float[2] head_b>
    {
      s = Conv <pads = [1,1,1,1]> (x, stem_w)
      r = Relu (s)
      a1 = Conv <pads = [1,1,1,1], strides = [2,2]> (r, a_w)
      a2 = Relu (a1)
      b1 = Conv <pads = [1,1,1,1]> (a2, b_w, b_b)
      p = Conv <strides = [2,2]> (r, short_w)
      t = Add (b1, p)
      u = Relu (t)
      g = GlobalAveragePool (u)
      f = Flatten (g)
      y = Gemm <transB = 1> (f, head_w, head_b)
    }""",
    lambda w: {
        "stem_w": w["stem_w"][[3]],
        "a_w": w["a_w"][:, [3]],
        "b_w": w["b_w"][[1, 2, 5]],
        "b_b": w["b_b"][[1, 2, 5]],
        "short_w": w["short_w"][[1, 2, 5]][:, [3]],
        "head_w": w["head_w"][:, [1, 2, 5]],
    },
)

CONCAT = Case(
    "concat",
    """net (float[1,3,6,6] x) => (float[1,2,6,6] y)
    <float[4,3,1,1] p_w, float[5,3,3,3] q_w, float[12] gamma, float[12] beta, float[12] mean,
     float[12] var, float[2,12,1,1] head_w>
    {
      p = Conv (x, p_w)
      q = Conv <pads = [1,1,1,1]> (x, q_w)
      j = Concat <axis = 1> (p, x, q)
      n = BatchNormalization (j, gamma, beta, mean, var)
      r = Relu (n)
      y = Conv (r, head_w)
    }""",
    {"p_w": [1, 3], "q_w": [0, 2, 4]},
    """net (float[1,3,6,6] x) => (float[1,2,6,6] y)
    <float[2,3,1,1] p_w, float[3,3,3,3] q_w, float[8] gamma, float[8] beta, float[8] mean,
     float[8] var, float[2,8,1,1] head_w>
    {
      p = Conv (x, p_w)
      q = Conv <pads = [1,1,1,1]> (x, q_w)
      j = Concat <axis = 1> (p, x, q)
      n = BatchNormalization (j, gamma, beta, mean, var)
      r = Relu (n)
      y = Conv (r, head_w)
    }""",
    lambda w: {
        "p_w": w["p_w"][[1, 3]],
        "q_w": w["q_w"][[0, 2, 4]],
        # of the joined channels, 0-3 are p's, 4-6 the image's, 7-11 q's
        "gamma": w["gamma"][[1, 3, 4, 5, 6, 7, 9, 11]],
        "beta": w["beta"][[1, 3, 4, 5, 6, 7, 9, 11]],
        "mean": w["mean"][[1, 3, 4, 5, 6, 7, 9, 11]],
        "var": w["var"][[1, 3, 4, 5, 6, 7, 9, 11]],
        "head_w": w["head_w"][:, [1, 3, 4, 5, 6, 7, 9, 11]],
    },
)

SPLIT = Case(
    "split",
    """net (float[1,3,6,6] x) => (float[1,2,6,6] y)
    <float[6,3,3,3] stem_w, float[3,4,1,1] p_w, float[3,2,1,1] q_w, float[2,3,1,1] head_w,
     int64[2] sizes = {4, 2}>
    {
      s = Conv <pads = [1,1,1,1]> (x, stem_w)
      l, r = Split <axis = 1> (s, sizes)
      p = Conv (l, p_w)
      q = Conv (r, q_w)
      m = Mul (p, q)
      y = Conv (m, head_w)
    }""",
    {"stem_w": [0, 2, 3, 5], "q_w": [0, 2]},
    """net (float[1,3,6,6] x) => (float[1,2,6,6] y)
    <float[4,3,3,3] stem_w, float[2,3,1,1] p_w, float[2,1,1,1] q_w, float[2,2,1,1] head_w,
     int64[2] sizes = {3, 1}>
    {
      s = Conv <pads = [1,1,1,1]> (x, stem_w)
      l, r = Split <axis = 1> (s, sizes)
      p = Conv (l, p_w)
      q = Conv (r, q_w)
      m = Mul (p, q)
      y = Conv (m, head_w)
    }""",
    lambda w: {
        "stem_w": w["stem_w"][[0, 2, 3, 5]],
        "p_w": w["p_w"][[0, 2]][:, [0, 2, 3]],
        "q_w": w["q_w"][[0, 2]][:, [1]],
        "head_w": w["head_w"][:, [0, 2]],
    },
)

EVEN_SPLIT = Case(
    "split without sizes, into unequal parts",
    """net (float[1,3,6,6] x) => (float[1,2,6,6] y)
    <float[6,3,3,3] stem_w, float[2,3,1,1] p_w, float[2,3,1,1] q_w>
    {
      s = Conv <pads = [1,1,1,1]> (x, stem_w)
      l, r = Split <axis = 1> (s)
      p = Conv (l, p_w)
      q = Conv (r, q_w)
      y = Add (p, q)
    }""",
    {"stem_w": [0, 3, 5]},
    """net (float[1,3,6,6] x) => (float[1,2,6,6] y)
    <float[3,3,3,3] stem_w, float[2,1,1,1] p_w, float[2,2,1,1] q_w, int64[2] SIZES = {1, 2}>
    {
      s = Conv <pads = [1,1,1,1]> (x, stem_w)
      l, r = Split <axis = 1> (s, SIZES)
      p = Conv (l, p_w)
      q = Conv (r, q_w)
      y = Add (p, q)
    }""",
    lambda w: {
        "stem_w": w["stem_w"][[0, 3, 5]],
        "p_w": w["p_w"][:, [0]],
        "q_w": w["q_w"][:, [0, 2]],
    },
)

ROUNDED_SPLIT = replace(
    EVEN_SPLIT,
    name="split without sizes, into parts of 2 and 1",
    keep={"stem_w": [0, 1, 3]},
    expected="""net (float[1,3,6,6] x) => (float[1,2,6,6] y)
    <float[3,3,3,3] stem_w, float[2,2,1,1] p_w, float[2,1,1,1] q_w, int64[2] SIZES = {2, 1}>
    {
      s = Conv <pads = [1,1,1,1]> (x, stem_w)
      l, r = Split <axis = 1> (s, SIZES)
      p = Conv (l, p_w)
      q = Conv (r, q_w)
      y = Add (p, q)
    }""",
    cut=lambda w: {
        "stem_w": w["stem_w"][[0, 1, 3]],
        "p_w": w["p_w"][:, [0, 1]],
        "q_w": w["q_w"][:, [0]],
    },
)


SQUEEZE_EXCITE = Case(
    "squeeze-excite",
    """net (float[1,3,6,6] x) => (float[1,2,6,6] y)
    <float[5,3,3,3] stem_w, float[3,5,1,1] down_w, float[3] down_b, float[5,3,1,1] up_w,
     float[5] up_b, float[2,5,1,1] head_w>
    {
      s = Conv <pads = [1,1,1,1]> (x, stem_w)
      g = GlobalAveragePool (s)
      d = Conv (g, down_w, down_b)
      e = Relu (d)
      u = Conv (e, up_w, up_b)
      v = Sigmoid (u)
      m = Mul (s, v)
      y = Conv (m, head_w)
    }""",
    {"stem_w": [0, 2, 3], "down_w": [0, 2]},
    """net (float[1,3,6,6] x) => (float[1,2,6,6] y)
    <float[3,3,3,3] stem_w, float[2,3,1,1] down_w, float[2] down_b, float[3,2,1,1] up_w,
     float[3] up_b, float[2,3,1,1] head_w>
    {
      s = Conv <pads = [1,1,1,1]> (x, stem_w)
      g = GlobalAveragePool (s)
      d = Conv (g, down_w, down_b)
      e = Relu (d)
      u = Conv (e, up_w, up_b)
      v = Sigmoid (u)
      m = Mul (s, v)
      y = Conv (m, head_w)
    }""",
    lambda w: {
        "stem_w": w["stem_w"][[0, 2, 3]],
        "down_w": w["down_w"][[0, 2]][:, [0, 2, 3]],
        "down_b": w["down_b"][[0, 2]],
        "up_w": w["up_w"][[0, 2, 3]][:, [0, 2]],
        "up_b": w["up_b"][[0, 2, 3]],
        "head_w": w["head_w"][:, [0, 2, 3]],
    },
)


# Of the sum's eight channels, 0 and 1 are padding, 2-5 the stem's, 6 and 7 padding. In the pruned
# graph 0, 1 | 3, 4 | 7 are left: two channels of padding before, one after.
PAD_SHORTCUT = Case(
    "option-A shortcut",
    """net (float[1,3,8,8] x) => (float[1,2,4,4] y)
    <float[4,3,3,3] stem_w, float[6,4,3,3] a_w, float[8,6,3,3] b_w, float[2,8,1,1] head_w,
     int64[2] starts = {0, 0}, int64[2] ends = {9223372036854775807, 9223372036854775807},
     int64[2] axes = {2, 3}, int64[2] steps = {2, 2}, int64[8] pads = {0, 2, 0, 0, 0, 2, 0, 0}>
    {
      c = Conv <pads = [1,1,1,1]> (x, stem_w)
      s = Relu (c)
      a1 = Conv <pads = [1,1,1,1], strides = [2,2]> (s, a_w)
      a2 = Relu (a1)
      b = Conv <pads = [1,1,1,1]> (a2, b_w)
      p = Slice (s, starts, ends, axes, steps)
      q = Pad (p, pads)
      t = Add (b, q)
      u = Relu (t)
      y = Conv (u, head_w)
    }""",
    {"b_w": [0, 1, 3, 4, 7]},
    """net (float[1,3,8,8] x) => (float[1,2,4,4] y)
    <float[2,3,3,3] stem_w, float[6,2,3,3] a_w, float[5,6,3,3] b_w, float[2,5,1,1] head_w,
     int64[2] starts = {0, 0}, int64[2] ends = {9223372036854775807, 9223372036854775807},
     int64[2] axes = {2, 3}, int64[2] steps = {2, 2}, int64[8] pads = {0, 2, 0, 0, 0, 1, 0, 0}>
    {
      c = Conv <pads = [1,1,1,1]> (x, stem_w)
      s = Relu (c)
      a1 = Conv <pads = [1,1,1,1], strides = [2,2]> (s, a_w)
      a2 = Relu (a1)
      b = Conv <pads = [1,1,1,1]> (a2, b_w)
      p = Slice (s, starts, ends, axes, steps)
      q = Pad (p, pads)
      t = Add (b, q)
      u = Relu (t)
      y = Conv (u, head_w)
    }""",
    lambda w: {
        "stem_w": w["stem_w"][[1, 2]],
        "a_w": w["a_w"][:, [1, 2]],
        "b_w": w["b_w"][[0, 1, 3, 4, 7]],
        "head_w": w["head_w"][:, [0, 1, 3, 4, 7]],
    },
)

COMPUTED_PAD_SHORTCUT = Case(
    "option-A shortcut with pads computed from constants",
    """net (float[1,3,8,8] x) => (float[1,2,4,4] y)
    <float[4,3,3,3] stem_w, float[6,4,3,3] a_w, float[8,6,3,3] b_w, float[2,8,1,1] head_w>
    {
      c = Conv <pads = [1,1,1,1]> (x, stem_w)
      s = Relu (c)
      a1 = Conv <pads = [1,1,1,1], strides = [2,2]> (s, a_w)
      a2 = Relu (a1)
      b = Conv <pads = [1,1,1,1]> (a2, b_w)
      starts = Constant <value_ints = [0, 0]> ()
      ends = Constant <value_ints = [9223372036854775807, 9223372036854775807]> ()
      axes = Constant <value_ints = [2, 3]> ()
      steps = Constant <value_ints = [2, 2]> ()
      p = Slice (s, starts, ends, axes, steps)
      before = Constant <value = int64[4] {0, 2, 0, 0}> ()
      after = Constant <value_ints = [0, 2, 0, 0]> ()
      pads = Concat <axis = 0> (before, after)
      q = Pad (p, pads)
      t = Add (b, q)
      u = Relu (t)
      y = Conv (u, head_w)
    }""",
    {"b_w": [0, 1, 3, 4, 7]},
    """net (float[1,3,8,8] x) => (float[1,2,4,4] y)
    <float[2,3,3,3] stem_w, float[6,2,3,3] a_w, float[5,6,3,3] b_w, float[2,5,1,1] head_w,
     int64[8] pads = {0, 2, 0, 0, 0, 1, 0, 0}>
    {
      c = Conv <pads = [1,1,1,1]> (x, stem_w)
      s = Relu (c)
      a1 = Conv <pads = [1,1,1,1], strides = [2,2]> (s, a_w)
      a2 = Relu (a1)
      b = Conv <pads = [1,1,1,1]> (a2, b_w)
      starts = Constant <value_ints = [0, 0]> ()
      ends = Constant <value_ints = [9223372036854775807, 9223372036854775807]> ()
      axes = Constant <value_ints = [2, 3]> ()
      steps = Constant <value_ints = [2, 2]> ()
      p = Slice (s, starts, ends, axes, steps)
      q = Pad (p, pads)
      t = Add (b, q)
      u = Relu (t)
      y = Conv (u, head_w)
    }""",
    PAD_SHORTCUT.cut,
)
