"""What is said where less can go than was asked for."""

from __future__ import annotations

import numpy as np
import pytest
import text_graphs

import reprune_onnx as rp
from reprune_onnx.choices import Reduction
from reprune_onnx.pruner.allocate.reach import out_of_reach


@pytest.mark.parametrize(
    ("most", "said"),
    [(0.19996, "at most 19.9% can go here"), (0.1949, "at most 19.5% can go here")],
)
def test_no_number_cannot_be_reached_of_which_as_much_can_go(most, said):
    error = out_of_reach(Reduction("macs", 0.2), most, rp.Settings(macs_reduction=0.2), [])
    assert str(error).startswith("20.0% fewer MACs cannot be reached: ")
    assert said in str(error)
    assert error.most == most


@pytest.mark.parametrize(
    ("outputs", "reasons"),
    [
        ("y", "(the channels of graph output 'y' stay)"),
        ("y z", "(the channels of graph output 'y' stay, and 1 more reason)"),
        ("y z s", "(the channels of graph output 'y' stay, and 2 more reasons)"),
    ],
)
def test_one_reason_is_named_and_others_are_counted(outputs, reasons):
    made = "\n".join(f"{name} = Conv (x, w_{name})" for name in outputs.split())
    declared = ", ".join(f"float[] {name}" for name in outputs.split())
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
    g (float[1, 3, 8, 8] x) => ({declared}) {{
        {made}
    }}"""
    weights = {f"w_{name}": np.ones((4, 3, 1, 1)) for name in outputs.split()}
    settings = rp.Settings(sparsity=0.5, recover="none", verify=False)
    with pytest.raises(rp.SelectionError) as error:
        rp.prune(rp.Model(text_graphs.model(text, **weights)), settings)
    assert f"nothing can be pruned {reasons}: see" in str(error.value)
