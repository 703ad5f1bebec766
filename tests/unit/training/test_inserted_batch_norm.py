"""BatchNormalization that is put in to train with: at first, and at the end, all is the same."""

import numpy as np
import onnx
import pytest
from text_graphs import model as parsed

torch = pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("lightning_fabric", reason="training needs Lightning Fabric")

import reprune_onnx as rp
from reprune_onnx.errors import ModelError
from reprune_onnx.training.batch_norm import fold_batch_norm, insert_batch_norm
from reprune_onnx.training.bridge import torch_module
from reprune_onnx.training.feed import StreamFeed
from reprune_onnx.training.prepare import start_fabric

RNG = np.random.default_rng(3)
HEAD = '<ir_version: 8, opset_import: ["": 17]> g (INPUT x) => (float[] y) '


def uneven(*shape: int) -> np.ndarray:
    """Weights as folding leaves them: channels a thousand times larger than others."""
    scale = 10.0 ** RNG.uniform(-2, 1, (shape[0], *[1] * (len(shape) - 1)))
    return (scale * RNG.standard_normal(shape)).astype(np.float32)


# what is fed, the nodes, their weights, and how many BatchNormalizations find a place
NETWORKS = {
    "a shortcut around a block": (
        (3, 6, 6),
        "{ a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1) r = Relu (a)"
        " b = Conv <pads = [1, 1, 1, 1]> (r, w2, b2) s = Add (b, r) y = Relu (s) }",
        {"w1": uneven(4, 3, 3, 3), "b1": uneven(4), "w2": uneven(4, 4, 3, 3), "b2": uneven(4)},
        2,
    ),
    "groups along one axis": (
        (4, 9),
        "{ a = Conv <group = 2> (x, w1, b1) r = Relu (a) y = Conv (r, w2, b2) }",
        {"w1": uneven(6, 2, 3), "b1": uneven(6), "w2": uneven(2, 6, 1), "b2": uneven(2)},
        1,  # behind the other nothing could be normalised: it is the output
    ),
    "a channel that never varies": (
        (2, 5, 5),
        "{ a = Conv (x, w1, b1) y = Relu (a) }",
        {"w1": uneven(3, 2, 3, 3) * np.array([1, 0, 1]).reshape(3, 1, 1, 1), "b1": uneven(3)},
        1,
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_first_output_is_the_files_and_so_is_the_graph_at_the_end(name):
    shape, body, weights, places = NETWORKS[name]
    head = HEAD.replace("INPUT", f"float[N,{','.join(map(str, shape))}]")
    weights = {n: np.asarray(w, np.float32) for n, w in weights.items()}
    source = rp.Model(onnx.shape_inference.infer_shapes(parsed(head + body, **weights)))
    x = RNG.standard_normal((8, *shape)).astype(np.float32)
    feed = StreamFeed.of("x", lambda: iter([(x, np.zeros(8))]), torch.device("cpu"), (0, 1))
    trained, inserted = insert_batch_norm(source, feed, start_fabric(rp.TrainSettings()))
    assert len(inserted) == places
    module, fed = torch_module(trained), torch.from_numpy(x)
    with torch.no_grad():
        wanted = torch_module(source)(fed)
        bound = 1e-5 * wanted.abs().max()
        for mode in (False, True):  # the second takes the statistics of this very batch
            torch.testing.assert_close(module.train(mode)(fed), wanted, rtol=0, atol=bound)
    folded = fold_batch_norm(trained, inserted)
    assert list(folded.proto.graph.node) == list(source.proto.graph.node)
    with torch.no_grad():
        torch.testing.assert_close(torch_module(folded)(fed), wanted, rtol=0, atol=bound)
    # the control: without the statistics of the images the output is another
    for tensor in trained.proto.graph.initializer:
        if tensor.name == inserted[0].name("mean"):
            mean = onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(0 * mean, tensor.name))
    with torch.no_grad():
        assert (torch_module(trained)(fed) - wanted).abs().max() > 100 * bound


def test_a_file_without_a_place_for_one_is_refused():
    body = "{ a = Conv (x, w1) y = Relu (a) }"
    source = rp.Model(parsed(HEAD.replace("INPUT", "float[N,2,5,5]") + body, w1=uneven(3, 2, 3, 3)))
    feed = StreamFeed.of(
        "x", lambda: iter([(np.zeros((1, 2, 5, 5)), np.zeros(1))]), torch.device("cpu"), (0, 1)
    )
    with pytest.raises(ModelError, match="no Conv with a bias of its own lacks"):
        insert_batch_norm(source, feed, start_fabric(rp.TrainSettings()))
