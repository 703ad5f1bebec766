"""When and how much to prune while training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from reprune_onnx.errors import UsageError
from reprune_onnx.options import Option
from reprune_onnx.settings import Settings


@dataclass(frozen=True)
class PrunePlan:
    """When and how much to prune while training.

    ``settings`` are those of `prune`, with a ``sparsity`` s̄. Every ``interval`` epochs ΔT, up to
    epoch ``prune_epochs`` T_prune, channels are chosen anew; δ_0 is ``regrow``.
    """

    settings: Settings
    prune_epochs: Annotated[
        int,
        Option(
            "Last epoch that chooses channels; default: 0.6 of --epochs.", "T", words=int | None
        ),
    ]
    interval: Annotated[int, Option("Epochs from one choice of channels to the next.", "N")] = 2
    regrow: Annotated[
        float,
        Option(
            "Share of channels that may regrow at first (δ₀ of the paper); it falls to 0.", "DELTA"
        ),
    ] = 0.2

    def __post_init__(self) -> None:
        if self.settings.sparsity is None:
            raise UsageError("training prunes to a --sparsity")
        if self.settings.min_channels == 0:
            raise UsageError(
                "--min-channels 0: whole branches go with prune only; in training every layer keeps"
                " a channel, which may come back with others"
            )
        if self.interval < 1:
            raise UsageError("--interval must be at least 1")
        if self.prune_epochs < 1:
            raise UsageError(f"--prune-epochs must be at least 1, and not {self.prune_epochs}")
        if self.prune_epochs % self.interval:
            raise UsageError(
                f"--prune-epochs {self.prune_epochs} is not a multiple of --interval"
                f" {self.interval}, and channels are chosen every {self.interval} epochs: use"
                " another of the two"
            )
        if not 0 <= self.regrow <= 1:
            raise UsageError(f"--regrow {self.regrow} is outside [0, 1]")

    @classmethod
    def default_end(cls, epochs: int, interval: int) -> int:
        """T_prune where none is given: 0.6 of the epochs, in whole intervals, at least one.

        >>> [PrunePlan.default_end(epochs, 2) for epochs in (3, 6, 160)]
        [2, 2, 96]
        """
        return max(int(0.6 * epochs) // interval, 1) * interval

    def check(self, epochs: int) -> None:
        """Raise UsageError where ``epochs`` leave none after the last choice of channels.

        What is written then would be a network that was cut and not trained since.
        """
        if epochs > self.prune_epochs:
            return
        longest = (epochs - 1) // self.interval * self.interval
        ways = [f"--epochs {self.prune_epochs + 1} or more"]
        if longest:
            ways.append(f"--prune-epochs {longest}")
        elif epochs > 1:
            ways.append(f"--interval 1 --prune-epochs {epochs - 1}")
        raise UsageError(
            f"--epochs {epochs} leaves no epoch to train in after channels are chosen for the last"
            f" time, which is after epoch {self.prune_epochs}: use {', or '.join(ways)}"
        )

    def updates_after(self, epoch: int) -> bool:
        """Whether channels are chosen after this many epochs."""
        return epoch % self.interval == 0 and epoch <= self.prune_epochs
