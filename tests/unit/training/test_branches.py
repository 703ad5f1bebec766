"""If in PyTorch: the condition decides in every step, and both branches are trained."""

import numpy as np
import onnx
import pytest
from text_graphs import model as parsed

torch = pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("lightning_fabric", reason="training needs Lightning Fabric")

import reprune_onnx as rp
from reprune_onnx.errors import ModelError
from reprune_onnx.runtime.ort import Session
from reprune_onnx.training.frozen import frozen_parameters
from reprune_onnx.training.initial import random_weights

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
RNG = np.random.default_rng(0)
CONDITION = "m = ReduceMean <keepdims = 0> (x)\n c = Greater (m, zero)\n"

OWN = f"""g (float[N,4] x) => (float[N,2] y) <float zero = {{0.0}}> {{
    {CONDITION}
    y = If (c) <
        then_branch = bright () => (float[N,2] t)
            <float[4,2] w = {{1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0}}> {{ t = MatMul (x, w) }},
        else_branch = dark () => (float[N,2] e) {{
            w = Constant <value = float[4,2] {{1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0}}> ()
            p = MatMul (x, w)\n e = Tanh (p) }}
    > }}"""
"""Each branch has a weight of its own, of the same name."""

SHARED = f"""g (float[N,4] x) => (float[N,3] y)
    <float zero = {{0.0}}, int64[2] shape = {{-1, 3}}, int64[1] axis = {{1}}> {{
    {CONDITION}
    h = MatMul (x, w1)
    z = If (c) <
        then_branch = a () => (float[N,3] t) {{ u = MatMul (h, w2)\n t = Reshape (u, shape) }},
        else_branch = b () => (float[N,3] e) {{
            n = Neg (m)\n d = Greater (n, half)
            e = If (d) <
                then_branch = deep () => (float[N,3] s) {{
                    k = MatMul (h, w2)\n s = Add (k, bias) }},
                else_branch = flat () => (float[N,3] f) {{
                    q = MatMul (h, w3)\n r = ReduceSum (q, axis)\n f = Add (q, r) }}
            > }}
    >
    y = Relu (z) }}"""
"""Weights, shapes and axes stand around the bodies, one of which has an If itself."""

TWO = f"""g (float[N,4] x) => (float[N,2] y, float[N,1] o) <float zero = {{0.0}}> {{
    {CONDITION}
    p, o = If (c) <
        then_branch = a () => (float[N,2] t, float[N,1] v) {{
            t = MatMul (x, w2)\n v = ReduceMax <axes = [1]> (t) }},
        else_branch = b () => (float[N,2] e, float[N,1] f) {{
            e = Slice (x, one, three, one)\n f = ReduceMean <axes = [1]> (e) }}
    >
    y = Mul (p, p) }}"""
"""Several outputs, and a branch without a weight."""

CASES = {
    "own": (OWN, {}),
    "shared": (
        SHARED,
        {
            **{"w1": RNG.standard_normal((4, 3)), "w2": RNG.standard_normal((3, 3))},
            **{"w3": RNG.standard_normal((3, 3)), "bias": RNG.standard_normal(3), "half": 0.5},
        },
    ),
    "two": (TWO, {"w2": RNG.standard_normal((4, 2)), "one": np.array([1]), "three": np.array([3])}),
}


def model_of(case: str) -> rp.Model:
    text, weights = CASES[case]
    proto = parsed(HEAD + text, **weights)
    onnx.checker.check_model(proto)
    return rp.Model(proto)


def inputs() -> list[np.ndarray]:
    """All ways through: bright, a little dark, very dark."""
    spread = RNG.random((3, 4)).astype(np.float32)
    return [spread + 0.1, spread - 0.8, spread - 3]


def both(model: rp.Model, module, x: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    with torch.no_grad():
        made = module(torch.from_numpy(x))
    made = made if isinstance(made, tuple) else (made,)
    expected = Session(model.proto, optimize=False).run({"x": x})
    return [y.numpy() for y in made], [expected[name] for name in module.output_names]


def close(pair) -> bool:
    return all(np.allclose(a, b, atol=1e-5) for a, b in zip(*pair, strict=True))


@pytest.mark.parametrize("case", CASES)
def test_every_way_is_computed_as_onnx_runtime_does(case):
    model = model_of(case)
    module = rp.torch_module(model)
    pairs = [both(model, module, x) for x in inputs()]
    assert all(close(pair) for pair in pairs)
    assert not close((pairs[0][0], pairs[1][1]))  # the control: another way's values


@pytest.mark.parametrize("case", CASES)
def test_what_is_trained_is_what_was_computed_and_goes_back_into_the_bodies(case):
    model = model_of(case)
    module = rp.torch_module(model).train()
    assert rp.write_back(model, module).proto == model.proto
    steps = torch.optim.SGD(module.parameters(), lr=0.05)
    before = {name: value.detach().clone() for name, value in module.named_parameters()}
    for x in inputs()[:1]:
        made = module(torch.from_numpy(x))
        sum(y.sum() for y in (made if isinstance(made, tuple) else (made,))).backward()
        steps.step()
    moved = {n for n, value in module.named_parameters() if not torch.equal(value, before[n])}
    assert moved == MOVED[case]
    assert set(before) == PARAMETERS[case]
    written = rp.write_back(model, module.eval())
    onnx.checker.check_model(written.proto)
    assert all(close(both(written, module, x)) for x in inputs())
    assert not close(both(model, module, inputs()[0]))
    restored = rp.torch_module(written)
    assert all(torch.equal(v, module.state_dict()[k]) for k, v in restored.state_dict().items())


PARAMETERS = {
    "own": {"y.then_branch.w", "y.else_branch.w"},
    "shared": {"w1", "w2", "w3", "bias"},
    "two": {"w2"},
}
MOVED = {"own": {"y.then_branch.w"}, "shared": {"w1", "w2"}, "two": {"w2"}}


def batches():
    for k in range(12):
        x = inputs()[k % 2]
        yield x, torch.zeros(len(x), 2)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_fine_tuning_trains_both_branches(optimizer):
    task = rp.Task(batches, loss=torch.nn.functional.mse_loss)
    how = {"lr": 0.1, "weight_decay": 0.0, "optimizer": optimizer, "epochs": 6}
    tuned = rp.finetune(model_of("own"), task, rp.TrainSettings(**how))
    log = tuned.log
    assert log["result"]["scores"]["val_loss"] < 0.9 * log["start"]["val_loss"]
    then, other = (a.g for a in tuned.model.proto.graph.node[-1].attribute)
    start = model_of("own").proto.graph.node[-1].attribute
    assert then.initializer[0] != start[0].g.initializer[0]
    assert other.node[0] != start[1].g.node[0]
    frozen = rp.TrainSettings(**how, freeze=("y.then*",))
    tuned = rp.finetune(model_of("own"), task, frozen).model.proto.graph.node[-1].attribute
    assert tuned[0].g == start[0].g and tuned[1].g != start[1].g


def test_globs_name_tensors_of_bodies():
    assert frozen_parameters(model_of("own"), ("*else*",)) == {"y.else_branch.w"}
    assert frozen_parameters(model_of("shared"), ("w?",)) == {"w1", "w2", "w3"}


def test_an_op_that_the_bridge_lacks_is_named_in_a_body_too():
    text = OWN.replace("e = Tanh (p)", "e = Det (p)")
    with pytest.raises(ModelError, match="the PyTorch bridge has no op Det"):
        rp.torch_module(rp.Model(parsed(HEAD + text)))


def test_layers_in_bodies_do_not_start_from_random_values():
    for case in CASES:
        with pytest.raises(ModelError, match="are of layers in bodies of If, which"):
            random_weights(model_of(case), RNG)
    text = """g (float[N,4] x) => (float[N,2] y) <bool c = {1}> {
        h = MatMul (x, w)
        y = If (c) < then_branch = a () => (float[N,2] t) { t = Relu (h) },
                     else_branch = b () => (float[N,2] e) { e = Neg (h) } > }"""
    model = rp.Model(parsed(HEAD + text, w=np.ones((4, 2))))
    assert random_weights(model, RNG).proto != model.proto
