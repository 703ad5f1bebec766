"""What a user writes: every public function, with arguments of every kind; type checkers pass."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx

import reprune_onnx as rp


def batches() -> Iterator[dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]]:
    yield {"x": np.zeros((16, 3, 32, 32), np.float32)}


def first(problem: rp.Problem, options: rp.SelectOptions, rng: np.random.Generator) -> rp.Choice:
    return rp.Choice(np.arange(problem.n_keep))


def everything(path: str, proto: onnx.ModelProto) -> None:
    model: rp.Model = rp.load(path)
    settings = rp.Settings(
        sparsity=0.5,
        include="*conv1*",
        exclude=["*head*"],
        layer={"*stem*": 16},
        input_shapes={"x": (1, 3, 32, 32)},
        calibration=batches(),
        method="l1",
    )
    channels: rp.ChannelMap = rp.analyze(proto, rp.Scope(residual="prune"))
    print(channels.n_units, rp.analyze(path).n_units, rp.as_model(proto).bytes)
    pruned: rp.Pruned = rp.prune(Path(path), settings)
    report: rp.Report = pruned.report
    share: float = report["achieved"]["macs_reduction"]
    kept: int = report["layers"][0]["out_channels"][1]
    paper: rp.Settings = rp.Settings.paper(macs_reduction=share)
    rp.prune(proto, paper)
    rp.prune(model, rp.Settings(keep=report))
    proof: rp.FileVerification = rp.verify(path, pruned.model, pruned)
    rp.verify(proto, "small.onnx")
    again = rp.recover(model, pruned.model, rp.Settings(keep=pruned, calibration="images/"))
    evaluation: rp.Evaluation = rp.evaluate(again.model, "images/", against=path)
    data: rp.Dataset = rp.open_data("images/", input_shape=(None, 3, 32, 32))
    rp.evaluate(proto, data)
    swept = rp.sweep(path, "out", paper, {"method": ["l1"]}, rp.SweepOptions(data="images/"))
    custom = rp.Settings(sparsity=0.5, method=first, recover=rp.RecoveryMethod(lambda work: {}))
    print(swept[0]["achieved"], custom, rp.Criterion(first, needs="losses"))
    rows = rp.bench([path, pruned.model], rp.BenchSettings(batch_sizes=(1,)))["rows"]
    print(
        kept,
        proof.to_dict(),
        evaluation.to_dict(),
        rows,
        rp.read_report("small.report.json")["notes"],
    )
    rp.save(pruned.model, Path("small.onnx"))
    try:
        rp.prune(path, settings)
    except (rp.ModelError, rp.DataError, rp.SelectionError, rp.VerificationError) as error:
        print(error)
    except (rp.UsageError, rp.OutputError, rp.ArgumentError, rp.RepruneError) as error:
        print(error)
