"""Train a table of the paper anew, and print it beside the published figures.

    python -m models.resnet_cifar 56 -o resnet56.onnx
    python tools/reproduce table10 --model resnet56.onnx --data cifar10/ --preprocess cifar10

Tables: 2, 3, 5, 8, 9, 10, 11; "older" (the method of 2020); "all" (2, 5 and 10, each run once).
``--epochs``, ``--images`` and ``--seeds`` shorten or repeat it. Every run is kept in the folder
``-o``: the same command goes on where it was stopped, and tables share their runs. Numbers that a
shortened run gives are no reproduction of the paper's, and the table says what was trained.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any, Literal

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(ROOT), str(HERE)]

import torch
from experiments import EXPERIMENTS, runs_of
from runs import Result, Setting, measured
from summary import write

import reprune_onnx as rp
from reprune_onnx.data.open import open_data
from reprune_onnx.errors import RepruneError
from reprune_onnx.runtime.image_input import image_input
from reprune_onnx.training.settings import TrainSettings


def main() -> None:
    arguments = parse()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    setting = prepare(arguments)
    results: dict[str, dict[int, Result]] = {}
    facts = {
        "network": arguments.model.stem,
        "epochs": setting.settings.epochs,
        "images": len(setting.train),
        "test_images": len(setting.test),
        "command": shlex.join(["python", "tools/reproduce", *sys.argv[1:]]),
    }
    for seed in arguments.seeds:
        for run in runs_of(arguments.table):
            results.setdefault(run.name, {})[seed] = measured(run, seed, setting)
            text = write(arguments.table, results, facts, arguments.out)
    print(text)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="reproduce", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("table", choices=EXPERIMENTS)
    parser.add_argument(
        "--model", type=Path, required=True, help="the network; its values are drawn anew"
    )
    parser.add_argument("--data", required=True, help="training and test images")
    parser.add_argument("--preprocess")
    parser.add_argument("-o", "--out", type=Path, default=Path("reproduced"))
    parser.add_argument("--epochs", type=int, help="default: the paper's")
    parser.add_argument("--images", type=int, help="train on so many of the images")
    parser.add_argument("--val-images", type=int, default=0, help="test on so many every epoch")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--finetune-lr", type=float, default=0.02)
    parser.add_argument("--weight-decay", type=float, default=5e-4)
    parser.add_argument("--augment", default="crop-flip")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--accelerator", default="auto")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--threads", type=int, help="of PyTorch on a CPU")
    return parser.parse_args()


def prepare(arguments: argparse.Namespace) -> Setting:
    """Read what all runs share."""
    model = rp.load(arguments.model)
    port = image_input(model.proto, {})

    def data(split: Literal["train", "test"]) -> Any:
        return open_data(
            arguments.data,
            preprocess=arguments.preprocess,
            input_shape=port.shape,
            dtype=port.dtype,
            split=split,
        )

    train, test = data("train"), data("test")
    return Setting(
        model=model,
        train=train.take(arguments.images) if arguments.images else train,
        test=test,
        val=test.take(arguments.val_images) if arguments.val_images else None,
        settings=TrainSettings(
            epochs=arguments.epochs or EXPERIMENTS[arguments.table].epochs,
            batch_size=arguments.batch_size,
            optimizer="sgd",
            lr=arguments.lr,
            clip_norm=0.0,  # the paper clips nothing, and reports the last epoch
            keep_epoch="last",
            weight_decay=arguments.weight_decay,
            augment=arguments.augment,
            precision=arguments.precision,
            accelerator=arguments.accelerator,
            devices=arguments.devices,
            workers=arguments.workers,
        ),
        finetune_lr=arguments.finetune_lr,
        folder=arguments.out,
    )


if __name__ == "__main__":
    try:
        main()
    except RepruneError as error:
        sys.exit(f"reproduce: {error}")
