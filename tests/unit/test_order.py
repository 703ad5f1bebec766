"""Files whose nodes are not sorted, but can be."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from text_graphs import model

import reprune_onnx as rp

# The converter appended the Cast of the input at the end; one body is not sorted either.
UNSORTED = """<ir_version: 8, opset_import: ["" : 17]>
g (float[1, 3, 8, 8] picture, bool flag) => (float[1, 4, 8, 8] y)
<float16[{n}, 3, 3, 3] w, float16[4, {n}, 1, 1] v>
{{
  [first] c = Conv <pads = [1, 1, 1, 1]> (half, w)
  [bound] r = Relu (c)
  [last] d = Conv (r, v)
  [choice] e = If (flag) <
    then_branch = then_g () => (float16[1, 4, 8, 8] t) {{
      [late] t = Relu (s)
      [early] s = Neg (d)
    }},
    else_branch = else_g () => (float16[1, 4, 8, 8] u) {{
      [only] u = Identity (d)
    }}
  >
  [out] y = Cast <to = 1> (e)
  [in] half = Cast <to = 10> (picture)
}}
"""


def unsorted(n: int) -> onnx.ModelProto:
    rng = np.random.default_rng(n)
    proto = model(UNSORTED.format(n=n))
    for tensor, shape in (("w", (n, 3, 3, 3)), ("v", (4, n, 1, 1))):
        array = (rng.standard_normal(shape) * 0.3).astype(np.float16)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, tensor))
    return proto


@pytest.mark.parametrize("n", [32, 12])
def test_a_file_that_is_not_sorted_is_pruned_and_written_sorted(call, tmp_path, n):
    source, out = tmp_path / "half.onnx", tmp_path / "small.onnx"
    onnx.save(unsorted(n), source)
    result = call("prune", source, "-o", out, "--sparsity", "0.5")
    assert result.code == 0, result.err
    assert "2 nodes of the file stood behind nodes that read what they make" in " ".join(
        result.out.split()
    )
    small = onnx.load(out)
    assert [node.name for node in small.graph.node] == ["in", "first", "bound", "last", *TAIL]
    onnx.checker.check_model(small, full_check=True)
    body = next(a.g for a in small.graph.node[4].attribute if a.name == "then_branch")
    assert [node.name for node in body.node] == ["early", "late"]
    assert call("verify", source, out).code == 0
    # the negative control: another selection's report is not about this file
    wrong = tmp_path / "wrong.onnx"
    assert call("prune", source, "-o", wrong, "--sparsity", "0.2").code == 0
    report = out.with_suffix(".report.json")
    refused = call("verify", source, wrong, "--report", report)
    assert refused.code == 1


TAIL = ("choice", "out")


def test_nodes_stay_where_they_are_unless_they_stand_too_late():
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[1, 2] x) => (float[1, 2] y) {
      [a] p = Relu (x)
      [b] q = Add (p, k)
      [c] r = Relu (x)
      [d] k = Neg (j)
      [e] y = Add (q, r)
      [f] j = Abs (x)
    }"""
    from reprune_onnx.order import in_order

    rewritten = in_order(rp.Model(model(text)))
    assert "".join(node.name for node in rewritten.proto.graph.node) == "afdbce"
    assert rewritten.moved == 2
    assert in_order(rewritten) is rewritten


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        (
            "[a] p = Relu (q) [b] q = Neg (r) [c] r = Abs (p)",
            r"Relu 'a', Neg 'b', Abs 'c' need each other in a cycle",
        ),
        ("[a] p = Add (p, x)", "Add 'a' reads what it makes itself"),
    ],
)
def test_a_cycle_is_refused_by_name(nodes, said):
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
    g (float[1, 2] x) => (float[1, 2] y) {{ {nodes} [z] y = Neg (p) }}"""
    with pytest.raises(rp.RepruneError, match=said):
        rp.analyze(rp.Model(model(text)))


@pytest.mark.parametrize("inner", [False, True])
def test_a_tensor_that_nothing_makes_is_refused_by_name(inner):
    proto = unsorted(8)
    body = next(a.g for a in proto.graph.node[3].attribute if a.name == "then_branch")
    (body.node[1] if inner else proto.graph.node[0]).input[0] = "nowhere"
    with pytest.raises(rp.RepruneError, match="reads 'nowhere', which nothing produces"):
        rp.analyze(rp.Model(proto))
