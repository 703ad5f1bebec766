"""Coverage-guided fuzzing of whatever reads a file that somebody else made.

    pip install atheris
    python tools/fuzz model -runs=20000 -seed=1
    python tools/fuzz model crash-0123…      # runs one file again

Targets: model, report, selection, data, target. Further arguments are libFuzzer's; a folder among
them keeps what was found and is gone on from. The command must end with exit code 0, 1 or 2 within
ten seconds and four gigabytes, say one line where it refuses, and leave only what it promises.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]

import atheris

with atheris.instrument_imports(include=["reprune_onnx"]):
    import reprune_onnx.data.images
    import reprune_onnx.data.npz
    import reprune_onnx.pipeline
    import reprune_onnx.runtime.evaluate  # noqa: F401  imported to be instrumented

from promise import TARGETS, kept, mutated


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"{__doc__}\nthe first argument is one of {', '.join(TARGETS)}")
    target = TARGETS[sys.argv.pop(1)]

    def mutator(data: bytes, max_size: int, seed: int) -> bytes:
        return mutated(data, seed, target, atheris.Mutate)[:max_size]

    with tempfile.TemporaryDirectory() as seeds:
        for k, data in enumerate(target.seeds):
            (Path(seeds) / str(k)).write_bytes(data)
        files = [name for name in sys.argv[1:] if Path(name).is_file()]  # to run again, and no more
        options = ["-timeout=30", "-max_len=200000", "-rss_limit_mb=6000"]
        atheris.Setup(
            [*sys.argv, *options, *([] if files else [seeds])],
            lambda data: kept(target, data),
            custom_mutator=mutator,
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
