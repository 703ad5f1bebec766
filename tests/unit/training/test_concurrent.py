"""Algorithm 2: masked training is narrow training, and what regrows is what there was."""

import numpy as np
import pytest

import reprune_onnx as rp
from reprune_onnx.errors import ModelError, UsageError
from reprune_onnx.pruner.allocate import bn_gamma

torch = pytest.importorskip("torch", reason="training needs PyTorch")

from reprune_onnx.training.bridge import torch_module
from reprune_onnx.training.concurrent import Whole
from reprune_onnx.training.plan import PrunePlan
from reprune_onnx.training.regrowth import delta

SPARSITY, EPOCHS = 0.55, 8


def plan(**more) -> PrunePlan:
    return PrunePlan(rp.Settings(sparsity=SPARSITY), EPOCHS, **more)


@pytest.fixture
def network(demo) -> Whole:
    return Whole.of(rp.load(demo), plan())


def steps(module, momentum, seed: int, n: int = 3):
    """A few steps of SGD on random images; the momentum by state key."""
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
    named = dict(module.named_parameters())
    for key, value in momentum.items():
        optimizer.state[named[key]]["momentum_buffer"] = value.clone()
    draw = torch.Generator().manual_seed(seed)
    module.train()
    for _ in range(n):
        x = torch.randn(16, 1, 8, 8, generator=draw)
        y = torch.randint(0, 10, (16,), generator=draw)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(x), y).backward()
        optimizer.step()
        yield optimizer
    module.eval()


def momentum_of(module, optimizer) -> dict:
    return {k: optimizer.state[p]["momentum_buffer"] for k, p in module.named_parameters()}


def train_narrow(network: Whole, seed: int) -> None:
    module, memory = network.narrow(None)
    momentum = memory.get("momentum_buffer", {})
    *_, optimizer = steps(module, momentum, seed)
    network.take_in(module, {"momentum_buffer": momentum_of(module, optimizer)})


def masks_of(network: Whole) -> dict[str, torch.Tensor]:
    """1 where an element belongs to channels that are there, by tensor."""
    masks = {name: torch.ones_like(v) for name, v in network.values.items()}
    for site in network.channels.sites:
        shape = [1] * masks[site.tensor].ndim
        shape[site.axis] = -1
        masks[site.tensor] *= torch.from_numpy(network.keep[site.ids]).float().reshape(shape)
    return masks


def test_training_the_narrow_network_is_training_the_masked_one(network):
    """The paper's masks on parameters, BN and momentum, after every step; the same values."""
    network.update(2, seed=0)
    masks = masks_of(network)
    assert sum((m == 0).any().item() for m in masks.values()) > 20
    masked = torch_module(network.full_model())
    with torch.no_grad():
        for name, value in masked.values().items():
            value.mul_(masks[name])
    for optimizer in steps(masked, {}, seed=5):
        with torch.no_grad():
            for name, value in masked.values().items():
                value.mul_(masks[name])
                if isinstance(value, torch.nn.Parameter):
                    optimizer.state[value]["momentum_buffer"] *= masks[name]
    train_narrow(network, seed=5)
    for name, value in masked.values().items():
        masked_values = network.values[name] * masks[name]
        torch.testing.assert_close(
            masked_values, value.detach() * masks[name], rtol=2e-4, atol=2e-5
        )


def test_a_dropped_channel_regrows_with_exactly_the_values_it_had(network):
    train_narrow(network, seed=1)
    network.update(2, seed=0)
    dropped = ~network.keep
    assert dropped.sum() > 40
    snapshot = {k: v.clone() for k, v in network.values.items()}
    gone = {k: m == 0 for k, m in masks_of(network).items()}
    train_narrow(network, seed=2)  # the others move on
    for name, values in network.values.items():
        assert torch.equal(values[gone[name]], snapshot[name][gone[name]])
        if gone[name].any() and not gone[name].all():
            assert not torch.equal(values[~gone[name]], snapshot[name][~gone[name]])
    network.update(4, seed=0)
    back = dropped & network.keep
    assert back.any()
    module, memory = network.narrow(None)
    momentum = memory["momentum_buffer"]
    narrow = dict(module.values())
    masks = masks_of(network)
    regrown_elements = 0
    for name, mask in masks.items():
        again = gone[name] & (mask == 1)
        regrown_elements += int(again.sum())
        wide = torch.zeros_like(snapshot[name])
        wide[mask == 1] = narrow[name].detach().reshape(-1)
        assert torch.equal(wide[again], snapshot[name][again])
    assert regrown_elements > 0
    for name, value in momentum.items():
        wide = torch.zeros_like(snapshot[name])
        wide[masks[name] == 1] = value.reshape(-1)
        assert not wide[gone[name]].any()


def test_how_many_regrow_differs_per_layer_and_follows_delta(network):
    totals = []
    for t in (2, 4, 6, 8):
        train_narrow(network, seed=t)
        gammas = {
            g.id: np.abs(network.values[g.producers[0].layer.bn].numpy()) * network.keep[g.units]
            for g in network.channels.groups
            if g.free.all()
        }
        update = network.update(t, seed=0)
        ids = sorted(update.kept)
        n = np.array([network.channels.groups[i].n for i in ids])
        looser = max(0.0, SPARSITY - delta(t, EPOCHS, 0.2))
        expected = {
            s: np.maximum(1, n - np.array(bn_gamma([gammas[i] for i in ids], s)))
            for s in (SPARSITY, looser)
        }
        np.testing.assert_array_equal([update.kept[i] for i in ids], expected[SPARSITY])
        grown = np.array([update.regrown[i] for i in ids])
        np.testing.assert_array_equal(grown, expected[looser] - expected[SPARSITY])
        assert sum(network.keep[g.units].sum() for g in network.channels.groups if g.id in ids) == (
            expected[looser].sum()
        )
        totals.append(grown.sum())
        if t < EPOCHS:
            assert len(set(grown.tolist())) > 1
    assert totals[0] > totals[1] > totals[2] > totals[3] == 0


def test_the_mask_is_frozen_after_the_last_update():
    p = plan(interval=2)
    assert [t for t in range(1, 13) if p.updates_after(t)] == [2, 4, 6, 8]


def test_the_same_seed_gives_the_same_channels(demo):
    keeps = []
    for seed in (0, 0, 1):
        one = Whole.of(rp.load(demo), plan())
        one.update(2, seed)
        keeps.append(one.keep.tobytes())
    assert keeps[0] == keeps[1] != keeps[2]


def test_plans_that_cannot_work_are_refused():
    with pytest.raises(UsageError, match="--prune-epochs 8 is not a multiple of --interval 3"):
        plan(interval=3)
    with pytest.raises(UsageError, match="to a --sparsity"):
        PrunePlan(rp.Settings(macs_reduction=0.5), 8)
    with pytest.raises(UsageError, match=r"--regrow 1\.5"):
        plan(regrow=1.5)


def test_a_weight_that_the_graph_computes_is_refused_before_anything_is_trained():
    from onnx import numpy_helper, parser

    proto = parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 13]>
        g (float[N, 3, 8, 8] x) => (float[N, 5, 4, 4] y) {
          w2 = Mul (w, two)
          a = Conv (x, w2)
          y = Conv (a, v)
        }"""
    )
    rng = np.random.default_rng(0)
    for name, shape in (("w", (4, 3, 3, 3)), ("two", (1,)), ("v", (5, 4, 3, 3))):
        values = rng.standard_normal(shape).astype(np.float32)
        proto.graph.initializer.append(numpy_helper.from_array(values, name))
    with pytest.raises(ModelError, match="constant 'w2' is computed by the graph"):
        Whole.of(rp.Model(proto), plan())
