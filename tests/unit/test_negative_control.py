"""How a wrong cut that shows is looked for: behind the last weights, in all, then by halves."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import text_graphs

import reprune_onnx as rp
from reprune_onnx.analyzer import channels_of, graph_of
from reprune_onnx.errors import ModelError, VerificationError
from reprune_onnx.surgeon import cut
from reprune_onnx.verification import control as controls
from reprune_onnx.verification import fed_model
from reprune_onnx.verification.control import NegativeControl
from reprune_onnx.verification.fed_model import FedModel
from reprune_onnx.verification.masked import masked_original
from reprune_onnx.verification.part import GraphPart, part_behind
from reprune_onnx.verification.wrong_cuts import WrongCuts

HALF = rp.Settings(
    sparsity=0.5, method="l1", recover="none", allocation="uniform", residual="prune"
)
RNG = np.random.default_rng(11)

TAILS = {
    "plain": "y = Relu (t)",
    "what goes around": "u = Add (t, x)\n y = Relu (u)",
    "constants of nodes": "half = Constant <value = float {0.5}> ()\n y = Mul (t, half)",
    "sizes from elsewhere": """s = Shape (x)
        from = Constant <value = int64[1] {2}> ()
        to = Constant <value = int64[1] {4}> ()
        front = Slice (s, zero, from)
        sides = Slice (s, from, to)
        twice = Mul (sides, from)
        all = Concat <axis = 0> (front, twice)
        u = Resize <mode = "nearest"> (t, , , all)
        y = Neg (u)""",
    "read in a body": """m = ReduceMax <keepdims = 0> (x)
        flag = Greater (m, tiny)
        y = If (flag) <
            then_branch = a () => (float[1, 4, 8, 8] p) { p = Mul (t, x) },
            else_branch = b () => (float[1, 4, 8, 8] q) { q = Neg (t) }
        >""",
    "a choice before it": """p = ReduceMean <axes = [2, 3], keepdims = 0> (h)
        best = ArgMax <axis = 1, keepdims = 0> (p)
        part = Gather <axis = 0> (table, best)
        y = Add (t, part)""",
}


def network(tail: str) -> rp.Model:
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
    g (float[1, 4, 8, 8] x) => (float[] y) {{
        a = Conv (x, w1)
        b = Relu (a)
        h = Conv (b, w2)
        c = Relu (h)
        d = Conv (c, w3)
        e = Relu (d)
        t = Conv (e, w4)
        {tail}
    }}"""
    shapes = {f"w{k}": (4, 16) if k in (2, 4, 5, 6) else (16, 4) for k in range(1, 7)}
    weights = {n: RNG.standard_normal((*s, 1, 1)) / np.sqrt(s[1]) for n, s in shapes.items()}
    return rp.Model(
        text_graphs.model(
            text,
            **weights,
            zero=np.array([0]),
            tiny=np.array(-1e9),
            table=RNG.standard_normal((4, 1, 8, 8)),
        )
    )


def keep_half(channels: rp.ChannelMap) -> np.ndarray:
    keep = np.ones(channels.n_units, dtype=bool)
    for group in channels.groups:
        keep[group.units[group.free][::2]] = False
    return keep


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, list[int]]]:
    """(nodes, [runs]) of every session that a proof makes."""
    seen: list[tuple[int, list[int]]] = []
    real = fed_model.Session

    class Counted(real):  # type: ignore[misc, valid-type]
        def __init__(self, proto, **options):
            super().__init__(proto, **options)
            seen.append((len(proto.graph.node), [0]))
            self.count = seen[-1][1]

        def run(self, feeds, outputs=None):
            self.count[0] += 1
            return super().run(feeds, outputs)

    monkeypatch.setattr(fed_model, "Session", Counted)
    return seen


@pytest.mark.parametrize("tail", TAILS.values(), ids=TAILS)
def test_what_lies_behind_a_weight_shows_what_a_whole_run_shows(tail, sessions):
    model = network(tail)
    graph = graph_of(model)
    channels = channels_of(graph, rp.Scope())
    keep = keep_half(channels)
    assert not keep.all()
    pruned = FedModel(cut(model, graph, channels, keep).model.proto)
    feeds = [
        {"x": np.random.default_rng(k).standard_normal((1, 4, 8, 8), np.float32)} for k in (0, 1)
    ]
    masked = masked_original(graph, channels, keep).session(["y"])
    tried = [(f, masked.run(f)) for f in feeds]
    control = NegativeControl(pruned, graph, channels, keep, ["y"], len(tried))
    recorded = [pruned.session(["y", *control.reads]).run(f) for f in feeds]
    del sessions[:]
    shown = control.shown(tried, recorded, 1e-4)
    last = next(s for s in channels.sites if s.role == "in" and s.tensor == "w4")
    full_run = WrongCuts(pruned.copy(), graph, channels, keep, [last], ["y"])
    assert shown > 0.1
    assert shown == pytest.approx(full_run.differ([last], tried, 1e-2), rel=1e-4)
    (nodes, runs), (all_nodes, _) = sessions
    assert nodes < all_nodes - 5
    assert runs == [1]
    right = WrongCuts(pruned.copy(), graph, channels, keep, [last], ["y"])
    assert right.differ([], tried, 1.0) < 1e-6


def test_what_cannot_be_fed_is_seen_in_whole_runs(monkeypatch, sessions):
    """An op may take only constants where the part would feed it an array."""

    def refused(self, part, like):
        raise ModelError("only constants")

    monkeypatch.setattr(FedModel, "part", refused)
    proof = rp.prune(network(TAILS["plain"]), HALF).report["verification"]
    assert proof["passed"]
    assert proof["negative_control"] > 1e-2 * proof["scale"]
    assert len({nodes for nodes, _ in sessions}) == 1


def test_what_would_be_too_much_to_record_is_seen_in_whole_runs(monkeypatch, sessions):
    monkeypatch.setattr(controls, "_RECORDED", 10)
    assert rp.prune(network(TAILS["plain"]), HALF).report["verification"]["passed"]
    assert len({nodes for nodes, _ in sessions}) == 1


def test_weights_that_lead_to_nothing_that_is_looked_at_are_left_out():
    """What is made of two layers is only read as a shape."""
    tail = """k = Conv (e, w5)
        l = Conv (e, w6)
        s = Shape (k)
        z = Shape (l)
        m = Mul (s, z)
        n = Size (m)
        f = Cast <to = 1> (n)
        y = Mul (t, f)"""
    proof = rp.prune(network(tail), HALF).report["verification"]
    assert proof["passed"]
    assert proof["negative_control"] > 1e-2 * proof["scale"]


def deep(n: int, scales: dict[int, float]) -> rp.Model:
    """``n`` residual branches of two layers; those named are that small."""
    lines, weights = [], {}
    for k in range(n):
        lines.append(f"a{k} = Conv (x{k}, v{k})\n b{k} = Relu (a{k})\n c{k} = Conv (b{k}, w{k})")
        lines.append(f"x{k + 1} = Add (x{k}, c{k})")
        scale = scales.get(k, 1.0)
        weights[f"v{k}"] = RNG.standard_normal((8, 4, 1, 1)) / 2
        weights[f"w{k}"] = scale * RNG.standard_normal((4, 8, 1, 1)) / 3
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
    g (float[1, 4, 8, 8] x0) => (float[] y) {{ {" ".join(lines)} y = Relu (x{n}) }}"""
    return rp.Model(text_graphs.model(text, **weights))


@pytest.mark.parametrize("seen", [0, 5, 11])
def test_the_one_weight_that_shows_is_found_by_halves(seen, sessions):
    model = deep(12, {k: 1e-7 for k in range(12) if k != seen})
    proof = rp.prune(model, HALF).report["verification"]
    assert proof["passed"]
    assert not proof["inner"]
    assert proof["negative_control"] > 1e-2 * proof["scale"]
    full_runs = [runs[0] for nodes, runs in sessions if nodes == 4 * 12 + 1]
    assert sum(full_runs) <= 4 + 2 + 2 * 5  # both models twice, and halves of twelve


def test_where_no_wrong_cut_shows_they_are_wrong_together_and_no_more(sessions):
    """All branches vanish: their own outputs are compared, where the last control shows."""
    model = deep(12, dict.fromkeys(range(12), 1e-07))
    proof = rp.prune(model, HALF).report["verification"]
    assert proof["passed"]
    assert proof["inner"]
    full_runs = [runs[0] for nodes, runs in sessions if nodes == 4 * 12 + 1]
    assert sum(full_runs) == 2 * 4 + 2 * 2  # twice both models, and readers and makers together


def test_a_cut_that_nothing_shows_is_refused():
    model = deep(3, dict.fromkeys(range(3), 0.0))
    with pytest.raises(VerificationError, match="nothing could be proven"):
        rp.prune(model, HALF)


class _Together:
    """Wrong cuts that show only where those of ``needed`` are wrong at once."""

    def __init__(self, *needed: set[str]) -> None:
        self.needed, self.runs = needed, 0

    def differ(self, sites, tried, goal):
        self.runs += 1
        return 1.0 if any(needed <= {*sites} for needed in self.needed) else 0.0


@pytest.mark.parametrize(
    ("needed", "shows"), [([{"a"}], 1.0), ([{"h"}], 1.0), ([{"a", "h"}], 0.0), ([], 0.0)]
)
def test_only_one_weight_by_itself_is_a_control(needed, shows):
    wrong = _Together(*needed)
    assert controls._by_halves(wrong, list("abcdefgh"), [], (1e-3, 1e-2)) == shows
    assert wrong.runs <= (5 if shows else 14)


def test_a_part_ends_where_something_is_looked_at():
    proto = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 17]>
    g (float[2] x) => (float[2] y) {
        a = Neg (x)
        b = Neg (a)
        k = Constant <value = float {2.0}> ()
        c = Mul (b, k)
        d = Add (c, a)
        y = Add (d, b)
        z = Neg (y)
    }""")
    assert part_behind(proto.graph, {3}, ["y"]) == GraphPart((2, 3, 4, 5), ("a", "b"))
    assert part_behind(proto.graph, {3}, ["d", "y"]) == GraphPart((2, 3, 4), ("a", "b"))
    assert part_behind(proto.graph, {4}, ["c"]) == GraphPart((), ())
