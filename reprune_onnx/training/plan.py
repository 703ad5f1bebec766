"""When and how much to prune while training."""

from __future__ import annotations

from dataclasses import dataclass

from reprune_onnx.errors import UsageError
from reprune_onnx.settings import Settings


@dataclass(frozen=True)
class PrunePlan:
    """When and how much to prune while training.

    ``settings`` are those of `prune`, with a ``sparsity`` s̄. Every ``interval`` epochs ΔT, up to
    epoch ``prune_epochs`` T_prune, channels are chosen anew; δ_0 is ``regrow``.
    """

    settings: Settings
    prune_epochs: int
    interval: int = 2
    regrow: float = 0.2

    def __post_init__(self) -> None:
        if self.settings.sparsity is None:
            raise UsageError("training prunes to a --sparsity")
        if self.interval < 1:
            raise UsageError("--interval must be at least 1")
        if self.prune_epochs < 1 or self.prune_epochs % self.interval:
            raise UsageError(
                f"--prune-epochs {self.prune_epochs} is not a multiple of --interval"
                f" {self.interval}: regrowth ends with the last update"
            )
        if not 0 <= self.regrow <= 1:
            raise UsageError(f"--regrow {self.regrow} is outside [0, 1]")

    def updates_after(self, epoch: int) -> bool:
        """Whether channels are chosen after this many epochs."""
        return epoch % self.interval == 0 and epoch <= self.prune_epochs
