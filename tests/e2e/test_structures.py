"""Whole graphs, pruned, equal the graphs that a person would write by hand.

One oracle shares no code with the labels: for every structure the pruned graph is written out as
text, and each of its weights as an index into the original's.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

import reprune_onnx as rp

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Case:
    """``keep`` is the selection: the rows of some layers that stay. ``cut`` makes the weights of
    ``expected`` that differ from the weights of ``text``.
    """

    name: str
    text: str
    keep: dict[str, list[int]]
    expected: str
    cut: Callable[[Arrays], Arrays]


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

CASES = [
    RESIDUAL,
    PROJECTED_RESIDUAL,
    CONCAT,
    SPLIT,
    EVEN_SPLIT,
    ROUNDED_SPLIT,
    DEPTHWISE,
    DEPTHWISE_MULTIPLIER,
    GROUPED,
    SQUEEZE_EXCITE,
    FLATTEN_GEMM,
    RESHAPE_GEMM,
    PAD_SHORTCUT,
    COMPUTED_PAD_SHORTCUT,
    SHARED_WEIGHT,
    REPEATED_WEIGHT,
]

SHARED_SCALE = """net (float[1,3,6,6] x) => (float[1,2,6,6] y)
    <float[4,3,1,1] p_w, float[4,3,3,3] q_w, float[1,4,1,1] scale, float[2,4,1,1] p_head_w,
     float[2,4,1,1] q_head_w>
    {
      p = Conv (x, p_w)
      q = Conv <pads = [1,1,1,1]> (x, q_w)
      p1 = Mul (p, scale)
      q1 = Mul (q, scale)
      p2 = Conv (p1, p_head_w)
      q2 = Conv (q1, q_head_w)
      y = Add (p2, q2)
    }"""


def parsed(text: str) -> onnx.ModelProto:
    """The graph as text; weights are declared there and have no values yet."""
    header = '<ir_version: 9, opset_import: ["" : 17]>'
    return onnx.parser.parse_model(f"{header}\n{text}")


def declared(proto: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    made = {o for node in proto.graph.node for o in node.output}
    return {
        v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim)
        for v in proto.graph.value_info
        if v.name not in made
    }


def random_weights(proto: onnx.ModelProto, seed: int) -> Arrays:
    """Values for the declared weights; all of them positive, as a variance has to be."""
    rng = np.random.default_rng(seed)
    return {
        name: (
            0.1 + rng.random(shape) * (1 if "var" in name else rng.choice([-1, 1], shape))
        ).astype(np.float32)
        for name, shape in declared(proto).items()
    }


def with_weights(proto: onnx.ModelProto, weights: Arrays) -> onnx.ModelProto:
    """The graph with its declared weights as initializers, and every shape written down."""
    shapes = declared(proto)
    assert {name: weights[name].shape for name in shapes} == shapes
    del proto.graph.value_info[:]
    proto.graph.initializer.extend(numpy_helper.from_array(weights[n], n) for n in shapes)
    proto = onnx.shape_inference.infer_shapes(proto, strict_mode=True)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def nodes(proto: onnx.ModelProto) -> list[tuple[Any, ...]]:
    def value(attribute: onnx.AttributeProto) -> Any:
        found = helper.get_attribute_value(attribute)
        if not isinstance(found, onnx.TensorProto):
            return found
        return numpy_helper.to_array(found).tolist()

    return [
        (n.op_type, n.name, list(n.input), list(n.output), {a.name: value(a) for a in n.attribute})
        for n in proto.graph.node
    ]


def initializers(proto: onnx.ModelProto) -> Arrays:
    return {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}


def outputs(proto: onnx.ModelProto) -> NDArray[np.float32]:
    image = np.random.default_rng(11).standard_normal(
        [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim]
    )
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": image.astype(np.float32)})
    return np.asarray(y)


def prune(proto: onnx.ModelProto, keep: dict[str, list[int]], folder: Path) -> rp.Pruned:
    cuts = [{"initializer": name, "axis": 0, "keep": rows} for name, rows in keep.items()]
    selection = folder / "selection.json"
    selection.write_text(json.dumps({"cuts": cuts}))
    return rp.prune(rp.Model(proto), rp.Settings(keep=selection, residual="prune"))


def by_hand(case: Case, weights: Arrays, pruned: onnx.ModelProto) -> onnx.ModelProto:
    """The expected graph. A tensor that pruning adds has a name of its own choice: ``SIZES``."""
    added = [t.name for t in pruned.graph.initializer if t.name not in case.text]
    text = case.expected.replace("SIZES", added[0]) if added else case.expected
    return with_weights(parsed(text), {**weights, **case.cut(weights)})


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_equals_the_graph_made_by_hand(case: Case, tmp_path: Path) -> None:
    weights = random_weights(parsed(case.text), seed=5)
    original = with_weights(parsed(case.text), weights)
    before = original.SerializeToString()

    result = prune(original, case.keep, tmp_path)

    assert original.SerializeToString() == before
    pruned = result.model.proto
    onnx.checker.check_model(pruned, full_check=True)
    expected = by_hand(case, weights, pruned)
    assert nodes(pruned) == nodes(expected)
    wanted, found = initializers(expected), initializers(pruned)
    assert {n: a.shape for n, a in found.items()} == {n: a.shape for n, a in wanted.items()}
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    assert list(pruned.graph.input) == list(original.graph.input)
    assert list(pruned.graph.output) == list(original.graph.output)
    np.testing.assert_allclose(outputs(pruned), outputs(expected), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_verification_tells_the_right_cut_from_a_wrong_one(case: Case, tmp_path: Path) -> None:
    original = with_weights(parsed(case.text), random_weights(parsed(case.text), seed=6))

    verification = prune(original, case.keep, tmp_path).report["verification"]

    assert verification["passed"] is True
    assert verification["max_abs_diff"] <= 1e-5 * verification["scale"]
    assert verification["negative_control"] >= 1e-3 * verification["scale"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_report_lists_every_tensor_that_lost_rows(case: Case, tmp_path: Path) -> None:
    weights = random_weights(parsed(case.text), seed=5)
    original = with_weights(parsed(case.text), weights)

    result = prune(original, case.keep, tmp_path)

    taken = dict(weights)
    for cut in result.report["cuts"]:
        name = cut["initializer"]
        assert cut["keep"] == sorted(set(cut["keep"]))
        taken[name] = taken[name].take(cut["keep"], axis=cut["axis"])
    expected = {**weights, **case.cut(weights)}
    assert {cut["initializer"] for cut in result.report["cuts"]} == set(case.cut(weights))
    for name, array in expected.items():
        np.testing.assert_array_equal(taken[name], array, err_msg=name)


@pytest.mark.parametrize(
    ("text", "keep"),
    [(c.text, c.keep) for c in CASES] + [(SHARED_SCALE, {"p_w": [0, 1, 2], "q_w": [1, 3]})],
    ids=[c.name for c in CASES] + ["copied constant"],
)
def test_the_report_of_one_pruning_selects_the_same_again(
    text: str, keep: dict[str, list[int]], tmp_path: Path
) -> None:
    original = with_weights(parsed(text), random_weights(parsed(text), seed=5))
    first = prune(original, keep, tmp_path)
    report = tmp_path / "net.report.json"
    report.write_text(json.dumps(first.report))

    second = rp.prune(rp.Model(original), rp.Settings(keep=report, residual="prune"))

    assert second.report["cuts"] == first.report["cuts"]
    assert second.report["rewritten"] == first.report["rewritten"]
    assert nodes(second.model.proto) == nodes(first.model.proto)


def test_a_constant_that_two_nodes_need_cut_differently_is_copied(tmp_path: Path) -> None:
    weights = random_weights(parsed(SHARED_SCALE), seed=5)
    original = with_weights(parsed(SHARED_SCALE), weights)

    result = prune(original, {"p_w": [0, 1, 2], "q_w": [1, 3]}, tmp_path)

    pruned = result.model.proto
    scales = {n.input[0]: n.input[1] for n in pruned.graph.node if n.op_type == "Mul"}
    assert len(set(scales.values())) == 2
    assert "scale" in scales.values()
    arrays = initializers(pruned)
    np.testing.assert_array_equal(arrays[scales["p"]], weights["scale"][:, [0, 1, 2]])
    np.testing.assert_array_equal(arrays[scales["q"]], weights["scale"][:, [1, 3]])
    (copy,) = set(scales.values()) - {"scale"}
    (cut,) = [c for c in result.report["cuts"] if c["initializer"] == copy]
    assert cut["source"] == "scale"
    assert result.report["verification"]["passed"] is True


def test_the_comparison_would_see_a_wrong_row() -> None:
    weights = random_weights(parsed(RESIDUAL.text), seed=5)
    cut = {**weights, **RESIDUAL.cut(weights)}
    wrong = {**cut, "b_w": weights["b_w"][[0, 1, 3]][:, [1, 4]]}

    right = outputs(with_weights(parsed(RESIDUAL.expected), cut))
    other = outputs(with_weights(parsed(RESIDUAL.expected), wrong))

    assert np.abs(right - other).max() > 1e-2 * np.abs(right).max()
