"""A network of ../shared that the tables of accuracy prune, and its images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sample import halves, unpacked

SHARED = Path(__file__).resolve().parents[2] / "shared"
SAMPLE = SHARED / "data" / "imagenet_sample_256.tar"


@dataclass(frozen=True)
class Network:
    """A model, the reductions of its multiply-adds, and ``images`` of its own to calibrate with.

    ``side`` is that of images of the ImageNet sample, ``resized`` or cut; without it they are
    ``data`` of ../shared.
    """

    model: str
    reductions: tuple[float, ...]
    images: int
    preprocess: str
    data: str = ""
    side: int = 0
    resized: bool = False
    residual: str = "inner"

    @property
    def file(self) -> Path:
        """The ONNX file."""
        return SHARED / "models" / f"{self.model}.onnx"

    def arrays(self, folder: Path) -> tuple[str, str]:
        """The images to calibrate with, and those to test on, as ``DATA``, kept in ``folder``."""
        if self.side:
            how = "resized" if self.resized else "cut"
            file = str(halves(SAMPLE, folder / f"{how}-{self.side}.npz", self.side, self.resized))
        elif self.data.endswith(".npz"):
            file = str(SHARED / "data" / self.data)
        else:
            return (str(unpacked(SHARED / "data" / self.data, folder)),) * 2
        return f"{file}:x_train", f"{file}:x_test,y_test"
