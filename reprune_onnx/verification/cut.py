"""Compare a pruned model with its masked original."""

from __future__ import annotations

import numpy as np

from reprune_onnx.errors import ModelError, VerificationError
from reprune_onnx.precision import tolerance
from reprune_onnx.types import Bools, ChannelMap, Model, Verification
from reprune_onnx.verification.compare import (
    Arrays,
    Difference,
    difference,
    finite,
    observed_tensors,
    tensor_outputs,
)
from reprune_onnx.verification.control import CONTROL_FACTOR, negative_control
from reprune_onnx.verification.decisions import decisions, feed_decisions, with_decisions
from reprune_onnx.verification.fed import FedModel
from reprune_onnx.verification.inputs import runs
from reprune_onnx.verification.masked import masked_original
from reprune_onnx.watch import Progress

_AMPLIFIED = 10.0  # so many times what the last digit of the inputs makes is rounding


def verify_cut(
    model: Model,
    channels: ChannelMap,
    keep: Bools,
    pruned: Model,
    progress: Progress | None = None,
) -> Verification:
    """Compare ``pruned`` with ``model`` masked to the units ``keep (n_units,)``.

    Raises ModelError where ONNX Runtime cannot run the original at all: without it nothing can be
    proven. A difference that is too large is returned, not raised.
    """
    allowed = tolerance(channels)
    observed = observed_tensors(channels, keep)
    choices = decisions(channels, keep)
    decided = choices.made
    observed = list(dict.fromkeys([*(o for o in observed if o not in decided), *choices.read]))
    found = _expected(model, channels, keep, [*observed, *choices.rounded, *decided])
    # A sequence cannot be fed: what follows it is compared as it comes.
    decided = [name for name in decided if isinstance(found[0][1].get(name), np.ndarray)]
    smaller = FedModel(pruned.proto)
    feed_decisions(smaller, [outputs for _, outputs in found], decided)
    tried = [
        (
            with_decisions(feeds, outputs, decided),
            {name: value for name, value in outputs.items() if name not in decided},
        )
        for feeds, outputs in found
    ]
    worst = _worst(smaller, tried, observed, progress)
    if worst.relative > allowed:
        rounding = _own_rounding(smaller, channels, tried, observed) * worst.scale
        return Verification(False, worst.absolute, worst.scale, 0.0, allowed, len(tried), rounding)
    if keep.all():
        return Verification(True, worst.absolute, worst.scale, 0.0, allowed, len(tried))
    control = negative_control(smaller, (channels, keep, observed), tried, allowed)
    # Outputs that are zero everywhere have no scale: whatever is compared is equal.
    shows = worst.scale > 0 and control >= CONTROL_FACTOR * allowed
    return Verification(
        shows, worst.absolute, worst.scale, control * worst.scale, allowed, len(tried)
    )


def _expected(
    model: Model, channels: ChannelMap, keep: Bools, observed: list[str]
) -> list[tuple[Arrays, Arrays]]:
    """(inputs, outputs) of the masked original, whose session is gone before another is made."""
    ends = tensor_outputs(model.proto)
    names = list(dict.fromkeys([*observed, *ends]))
    if not names:
        raise ModelError("the graph has no output that is a tensor: nothing could be proven")
    masked = masked_original(model.proto, channels, keep).session(names)
    tried = list(runs(model.proto, masked, channels.input_shapes))
    if not any(finite({name: outputs[name] for name in ends or names}) for _, outputs in tried):
        raise VerificationError(
            "nothing could be proven: the original's outputs are not finite on random inputs"
            " (--no-verify writes the model unproven)"
        )
    return tried


def _worst(
    pruned: FedModel,
    tried: list[tuple[Arrays, Arrays]],
    observed: list[str],
    progress: Progress | None,
) -> Difference:
    """The largest relative difference of the pruned model, over all inputs."""
    differences = [Difference(0.0, 0.0)]
    try:
        candidate = pruned.session(list(tried[0][1]))
        for k, (feeds, expected) in enumerate(tried):
            differences.append(difference(expected, candidate.run(feeds), observed))
            if progress is not None:
                progress("verifying", k + 1, len(tried))
    except ModelError as error:
        raise VerificationError(
            f"the pruned model does not run, which is a bug of reprune-onnx: {error}"
        ) from error
    return max(differences, key=lambda d: (d.relative, d.scale))


def _own_rounding(
    pruned: FedModel,
    channels: ChannelMap,
    tried: list[tuple[Arrays, Arrays]],
    observed: list[str],
) -> float:
    """The relative difference that the last digit of the model's inputs makes when pruned."""
    session, rng = pruned.session(list(tried[0][1])), np.random.default_rng(0)
    given = {i.name for i in channels.graph.inputs}
    found = 0.0
    for feeds, _ in tried:
        moved = {
            name: np.nextafter(a, rng.choice([-1, 1], a.shape).astype(a.dtype) * np.inf)
            if a.dtype.kind == "f" and name in given
            else a
            for name, a in feeds.items()
        }
        found = max(found, difference(session.run(feeds), session.run(moved), observed).relative)
    return found


def check(result: Verification) -> None:
    """Raise VerificationError where a verification did not pass, saying which half failed."""
    if result.passed:
        return
    limit = result.tolerance * result.scale
    if result.max_abs_diff > limit and _AMPLIFIED * result.rounding >= result.max_abs_diff:
        raise VerificationError(
            f"nothing could be proven: the model amplifies rounding, the last digit of its inputs"
            f" (or random numbers of its own) to {result.rounding:.3g} in an output of at most"
            f" {result.scale:.3g}; the pruned model's differ by {result.max_abs_diff:.3g}"
            " (--no-verify writes it unproven)"
        )
    if result.max_abs_diff > limit:
        raise VerificationError(
            f"the pruned model differs from the masked original by {result.max_abs_diff:.3g}, more"
            f" than the {limit:.3g} allowed: this is a bug of reprune-onnx; please report the model"
        )
    raise VerificationError(
        f"nothing could be proven: outputs are at most {result.scale:.3g} on random inputs, and a"
        f" deliberately wrong cut changes them by only {result.negative_control:.3g}; a model whose"
        " outputs depend on its weights is needed (--no-verify writes this one unproven)"
    )
