"""Files of a few nodes that have a task, and what is done with them."""

import json

import numpy as np
import onnx
from text_graphs import model as parsed

HEAD = '<ir_version: 8, opset_import: ["" : 13]>\n'
RNG = np.random.default_rng(0)
STEPS = ("--epochs", "6", "--batch-size", "8", "--lr", "0.5", "--weight-decay", "0")


def written(path, text, **weights):
    onnx.save(parsed(HEAD + text, **weights), path)
    return path


def measured(call, model, data, task, *more) -> dict:
    result = call("evaluate", model, "--task", task, "--data", data, "--json", "-", *more)
    assert result.code == 0, result.err
    return json.loads(result.out)


def trained(call, tmp_path, model, data, task, *more, name="out"):
    """Fine-tune: the file, the log, and what was printed."""
    out = tmp_path / f"{name}.onnx"
    how = ("--data", data, "--task", task, "-o", out, *STEPS, *more)
    result = call("finetune", model, *how)
    assert result.code == 0, result.err
    return out, json.loads((tmp_path / f"{name}.training.json").read_text()), result.out


def start_and_end(log, key) -> tuple[float, float]:
    return log["start"][key], log["result"]["scores"][key]


WRONG = np.array([[[[-1.0]]], [[[1.0]]]])  # class 0 where the pixel is dark: all wrong
MEANS = """g (float[N,1,4,4] x) => (float[N,2] y) <float[2] b = {0.0, 0.0}> {
    m = GlobalAveragePool (x)\n f = Flatten (m)\n s = MatMul (f, W)\n y = Add (s, b) }"""
