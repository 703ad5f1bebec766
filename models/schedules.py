"""The schedules of the paper's detectors (A.3), and shorter runs of the same form."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Schedule:
    """SGD: ``batch`` images a step, the rate ``lr`` divided by ten at each of ``milestones``.

    ``frozen`` are globs over parameters that stay; ``batch_norm`` says whether the backbone's
    statistics are those of the batch, and learn, or stay.
    """

    batch: int
    lr: float
    weight_decay: float
    iterations: int
    milestones: tuple[int, ...]
    momentum: float = 0.9
    frozen: tuple[str, ...] = ()
    batch_norm: bool = True

    def shortened(self, iterations: int) -> Schedule:
        """The same in fewer steps: milestones at the same shares.

        >>> SCHEDULES["ssd300_resnet50"].shortened(24_000).milestones
        (16000, 20000)
        """
        milestones = tuple(m * iterations // self.iterations for m in self.milestones)
        return replace(self, iterations=iterations, milestones=milestones)

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return self.lr * 0.1 ** sum(step >= m for m in self.milestones)


SCHEDULES = {
    "ssd300_resnet50": Schedule(64, 2.6e-3, 5e-4, 240_000, (160_000, 200_000)),
    # As torchvision does: stem and first stage stay, and so do all statistics, γ and β.
    "maskrcnn_resnet50_fpn": Schedule(
        32,
        0.04,
        1e-4,
        160_000,
        (100_000, 140_000),
        frozen=("*body.conv1.*", "*body.bn1.*", "*body.layer1.*", "*.bn?.*", "*.downsample.1.*"),
        batch_norm=False,
    ),
}
