"""The paper's networks: list them, or write one as ONNX.

    python -m models [--json]
    python -m models export NAME -o FILE [--weights FILE|torchvision] [--fold-bn]

Random weights, where no others are given, are drawn from ``--seed``.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib.util import find_spec
from pathlib import Path

from reprune_onnx.errors import OutputError, RepruneError, UsageError
from reprune_onnx.model import save
from reprune_onnx.types import Model


def main() -> None:
    """Read the command line."""
    arguments = parse()
    missing = [name for name in ("torch", "torchvision") if find_spec(name) is None]
    if missing:
        sys.exit(f"models: {' and '.join(missing)} missing: pip install 'reprune-onnx[models]'")
    try:
        if arguments.command == "export":
            write(arguments)
        else:
            show(arguments.json)
    except UsageError as error:
        print(f"models: {error}", file=sys.stderr)
        sys.exit(2)
    except RepruneError as error:
        sys.exit(f"models: {error}")


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="models", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the list as JSON")
    commands = parser.add_subparsers(dest="command")
    export = commands.add_parser("export", help="write one network as ONNX")
    export.add_argument("name")
    export.add_argument("-o", "--out", type=Path, required=True, metavar="FILE")
    export.add_argument("--weights", metavar="FILE|torchvision", help="default: random")
    export.add_argument("--fold-bn", action="store_true", help="fold BatchNormalization into Conv")
    export.add_argument("--seed", type=int, default=0, help="of random weights")
    export.add_argument(
        "--fresh", action="store_true", help="random weights as before training: every γ is 1"
    )
    export.add_argument(
        "--no-post", action="store_true", help="detectors: without NMS and all else that follows"
    )
    export.add_argument(
        "--threshold",
        type=float,
        help="detectors: drop boxes with this score or less; default 0.05, with random weights 0",
    )
    export.add_argument(
        "--min-size", type=int, metavar="N", help="shorter side that Mask R-CNN resizes images to"
    )
    export.add_argument(
        "--proposals", type=int, metavar="N", help="boxes Mask R-CNN's heads look at; default 1000"
    )
    export.add_argument(
        "--detections", type=int, metavar="N", help="boxes Mask R-CNN gives at most; default 100"
    )
    return parser.parse_args()


def write(arguments: argparse.Namespace) -> None:
    """Export, and say what was written."""
    folder = arguments.out.parent
    if not folder.is_dir():
        raise OutputError(f"cannot write '{arguments.out}': there is no folder '{folder}'")

    from models.export import Recipe, export

    recipe = Recipe(
        weights=arguments.weights,
        fold=arguments.fold_bn,
        seed=arguments.seed,
        fresh=arguments.fresh,
        post=not arguments.no_post,
        threshold=arguments.threshold,
        min_size=arguments.min_size,
        proposals=arguments.proposals,
        detections=arguments.detections,
    )
    proto = export(arguments.name, recipe)
    save(Model(proto), arguments.out)
    weights = recipe.weights or f"random weights of seed {recipe.seed}"
    print(f"{arguments.out}: {arguments.name}, {weights}, {arguments.out.stat().st_size:,} bytes")


def show(as_json: bool) -> None:
    """The table of networks."""
    from models.catalog import NETWORKS
    from models.count import macs_and_params

    rows = []
    for network in NETWORKS.values():
        macs, params = macs_and_params(network)
        shape = list(network.input_shape)
        rows.append(
            {
                "name": network.name,
                "macs": macs,
                "params": params,
                "input_shape": shape,
                "source": network.source,
            }
        )
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{'name':<24}{'M MACs':>12}{'M params':>10}  {'input':<16} source")
    for row in rows:
        shape = "×".join(map(str, row["input_shape"]))
        million = f"{row['macs'] / 1e6:>12,.1f}{row['params'] / 1e6:>10,.2f}"
        print(f"{row['name']:<24}{million}  {shape:<16} {row['source']}")


if __name__ == "__main__":
    main()
