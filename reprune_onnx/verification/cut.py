"""Compare a pruned model with its masked original."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from reprune_onnx.analyzer.graph import FLOATS, Graph
from reprune_onnx.analyzer.hoist import hoisted
from reprune_onnx.errors import KernelError, ModelError, VerificationError
from reprune_onnx.precision import HALF, HALF_STEP, HALF_TOLERANCE, TOLERANCE, WIDE, tolerance
from reprune_onnx.results import CutNetwork, Verification
from reprune_onnx.types import Bools, ChannelMap, Model
from reprune_onnx.verification.bound import (
    multiply_adds,
    quicker_sizes,
    share,
    smaller_sizes,
)
from reprune_onnx.verification.compare import (
    Arrays,
    Difference,
    difference,
    finite,
    kept_part,
    observed_tensors,
    tensor_outputs,
)
from reprune_onnx.verification.control import CONTROL_FACTOR, NegativeControl
from reprune_onnx.verification.decisions import decisions, feed_decisions, with_decisions
from reprune_onnx.verification.fed_model import FedModel, FedSession
from reprune_onnx.verification.inputs import Kind, Sizes, kinds, runs
from reprune_onnx.verification.masked import consumers, masked_original
from reprune_onnx.verification.views import View, views
from reprune_onnx.watch import Progress

_AMPLIFIED = 10.0  # so many times what the last digit of the inputs makes is rounding


def verify_cut(
    network: CutNetwork, progress: Progress | None = None, images: Sequence[Arrays] = ()
) -> Verification:
    """Compare what a cut left of a network with the network, masked to the units that were kept.

    Where the first kind of inputs shows nothing, because the model amplifies rounding on it or
    because a wrong cut would not be seen, others are tried; ``images`` are batches of the user's.
    Of a float16 model, float32 copies come last: what vanishes in the one shows in the other. Of a
    heavy model, copies that read smaller inputs come first, where what is fixed inside allows it;
    where these do not show all on the first kind of inputs, the analysed sizes are taken. Branches
    of If that lose channels are run in copies that take them (`views.py`). Raises ModelError where
    ONNX Runtime cannot run the original at all: without it nothing can be proven. A difference that
    is too large is returned, not raised.
    """
    pruned, keep = hoisted(network.pruned), network.keep
    results: list[Verification] = []
    for view in views(network.graph, network.channels, keep):
        results.append(_compared(view, keep, pruned, progress, images))
        if not results[-1].passed:
            return results[-1]
    return _all_of(results)


def _all_of(results: Sequence[Verification]) -> Verification:
    """The result of all comparisons together: the worst of each."""
    worst = max(results, key=lambda r: Difference(r.max_abs_diff, r.scale).relative)
    controls = [r.negative_control / r.scale for r in results if r.negative_control]
    return replace(
        worst,
        negative_control=min(controls, default=0.0) * worst.scale,
        runs=sum(r.runs for r in results),
        inputs=tuple(dict.fromkeys(name for r in results for name in r.inputs)),
        inner=any(r.inner for r in results),
        branches=tuple(name for r in results for name in r.branches),
    )


def _compared(
    view: View,
    keep: Bools,
    pruned: Model,
    progress: Progress | None,
    images: Sequence[Arrays],
) -> Verification:
    """Compare one view of both models on one kind of inputs after the other."""
    taken = f", in {' and '.join(view.branches)}" if view.branches else ""
    integers = any(i.type.tensor_type.elem_type not in FLOATS for i in view.graph.inputs)
    tried: list[str] = []
    best: Verification | None = None
    refusal: Exception | None = None
    for proof in _proofs(view, keep, pruned, progress):
        in_order = kinds(() if proof.sizes else images)  # images are of the full size
        for kind in in_order[:1] if proof.quick else in_order:
            name = f"{kind.name}{'' if proof.wide == WIDE else ', in float32'}{taken}"
            tried.append(name)
            try:
                result = proof.on(kind)
            except _NotRunError as error:
                if not proof.quick:
                    refusal = refusal or error.reason
                if not integers:  # the next kind has other whole numbers, but no other shapes
                    break
                continue
            if result is None:
                continue
            if result.passed or not (_amplified(result) or _hidden(result)):
                return replace(result, inputs=(name,), branches=view.branches)
            best = best or (None if proof.quick else result)
    tried = list(dict.fromkeys(tried))
    if best is not None:
        return replace(best, inputs=tuple(tried))
    raise refusal or VerificationError(
        "nothing could be proven: the original's outputs are not finite on any inputs tried"
        f" ({'; '.join(tried)}): --no-verify writes the model unproven"
    )


def _of(pruned: Model, view: View, wide: Collection[int] | None = None) -> FedModel:
    """The pruned model as it is compared in a view."""
    model = FedModel(pruned.proto) if wide is None else FedModel(pruned.proto, wide)
    return model.taking(view.decided)


def _proofs(view: View, keep: Bools, pruned: Model, progress: Progress | None) -> Iterator[_Proof]:
    """All ways to compare the two, in the order in which they are tried."""
    graph, channels = view.graph, view.channels
    quick = quicker_sizes(channels, graph.proto)
    small = list(smaller_sizes(graph, channels))
    for sizes in (quick, small) if quick else (small,):
        at = sizes, sizes is quick
        yield _Proof(view, keep, _of(pruned, view), progress, *at)
        if tolerance(graph, channels) == HALF_TOLERANCE:
            copy = _of(pruned, view, HALF)
            yield _Proof(view, keep, copy, progress, *at, HALF)


class _NotRunError(Exception):
    """The masked original does not run on some inputs; why, is ``reason``."""

    def __init__(self, reason: ModelError) -> None:
        super().__init__(str(reason))
        self.reason = reason


@dataclass
class _Proof:
    """The masked original and the pruned model, to be compared on one kind of inputs at a time."""

    view: View
    keep: Bools
    smaller: FedModel
    progress: Progress | None
    sizes: list[Sizes]  # smaller than the analysed ones, which are taken where none of them runs
    quick: bool  # whether these are not taken, as another proof does so
    wide: Collection[int] = WIDE  # the types whose values are float32 in what is compared
    at: str = ""  # the smaller sizes that were taken
    fed: bool = False  # whether the pruned model reads decisions that it is given

    @property
    def channels(self) -> ChannelMap:
        """Those of the graph in which the branches of If stand beside them."""
        return self.view.channels

    def on(self, kind: Kind) -> Verification | None:
        """The result with one kind of inputs; None where the original's outputs are not finite."""
        result = self._compared(kind, [])
        if result is None or self.quick or not _hidden(result):
            return result
        behind = self._compared(kind, self._behind_cuts())
        if behind is None or _hidden(behind) or _amplified(behind):
            return result
        return replace(behind, inner=True)

    def _expected(self, observed: list[str], kind: Kind) -> list[tuple[Arrays, Arrays]] | None:
        """(inputs, outputs) of the masked original, whose session is gone before another is made.

        None where no output has a finite value. At the first of the smaller sizes that it runs at,
        if there are any, else at that which was analysed.
        """
        ends = tensor_outputs(self.view.graph.proto)
        names = list(dict.fromkeys([*observed, *ends]))
        if not names:
            raise ModelError("the graph has no output that is a tensor: nothing could be proven")
        masked = masked_original(self.view.graph, self.channels, self.keep, self.wide)
        masked = masked.taking(self.view.decided)
        if self.sizes:
            masked.open_sizes(self.channels.input_shapes)
            self.smaller.open_sizes(self.channels.input_shapes)
        try:
            session = masked.session(names)
        except KernelError as error:
            raise VerificationError(
                f"nothing could be proven: {error} (--no-verify writes the model unproven)"
            ) from error
        sizes = self.sizes if self.quick else [*self.sizes, self.channels.input_shapes]
        *smaller, last = sizes
        for shapes in smaller:
            try:
                return self._run(session, shapes, kind, ends or names)
            except ModelError:  # what is fixed inside fits no such size
                continue
        try:
            return self._run(session, last, kind, ends or names)
        except ModelError as error:
            raise _NotRunError(error) from error

    def _run(
        self, session: FedSession, sizes: Sizes, kind: Kind, ends: list[str]
    ) -> list[tuple[Arrays, Arrays]] | None:
        """The runs at some sizes and from there on; None where nothing is finite."""
        work = multiply_adds(self.channels) * share(self.channels, sizes)
        tried = list(runs(self.view.graph.proto, session, sizes, kind, work))
        if sizes != self.channels.input_shapes:
            self.at = ", ".join(f"{n} = {'×'.join(map(str, s))}" for n, s in sizes.items())
        if any(finite({name: outputs[name] for name in ends}) for _, outputs in tried):
            return tried
        return None

    def _behind_cuts(self) -> list[str]:
        """The tensors that are made of dropped channels and others, right behind the cuts."""
        read = [s for s in consumers(self.channels, self.keep) if self.keep[s.ids].any()]
        ops = [self.view.graph.ops[s.node] for s in read]
        made = dict.fromkeys(op.outputs[0] for op in ops if len(op.outputs) == 1)
        return self._there([name for name in made if name in self.view.shown.tensors])

    def _there(self, names: list[str]) -> list[str]:
        """Those of the original's tensors that the pruned model makes or is given.

        A branch that went as a whole makes nothing that could be compared.
        """
        graph = self.smaller.proto.graph
        made = {name for node in graph.node for name in node.output}
        made |= {i.name for i in graph.input} | {o.name for o in graph.output}
        return [name for name in names if name in made]

    def _compared(self, kind: Kind, inner: list[str]) -> Verification | None:
        """Compare the outputs or what they are made of, and what of the tensors ``inner`` is left.

        These show what a later layer makes too small to be seen.
        """
        channels, keep = self.channels, self.keep
        graph, shown, shown_graph = self.view.graph, self.view.shown, self.view.shown_graph
        allowed = tolerance(graph, channels) if self.wide == WIDE else TOLERANCE
        choices = decisions(shown_graph, shown, keep)
        decided = choices.made
        observed = observed_tensors(shown_graph, shown, keep)
        observed = [o for o in observed if o not in decided]
        observed = list(dict.fromkeys([*observed, *choices.read, *inner]))
        observed, decided = self._there(observed), self._there(decided)
        wanted = [*observed, *self._there(choices.rounded), *decided]
        masked_runs = self._expected(wanted, kind)
        if masked_runs is None:
            return None
        for _, outputs in masked_runs:
            for name in inner:
                outputs[name] = kept_part(outputs[name], channels.tensors[name].ids, keep)
        # A sequence cannot be fed: what follows it is compared as it comes.
        decided = [name for name in decided if isinstance(masked_runs[0][1].get(name), np.ndarray)]
        if not self.fed:
            feed_decisions(self.smaller, [outputs for _, outputs in masked_runs], decided)
            self.fed = True
        tried = [
            (
                with_decisions(feeds, outputs, decided),
                {name: value for name, value in outputs.items() if name not in decided},
            )
            for feeds, outputs in masked_runs
        ]
        controls = [
            NegativeControl(self.smaller, graph, part, keep, observed, len(tried))
            for part in self.view.by_part()
        ]
        reads = sorted({name for control in controls for name in control.reads})
        worst, recorded = _worst(self.smaller, tried, observed, reads, self.progress)
        facts = Verification(
            False, worst.absolute, worst.scale, 0.0, allowed, len(tried), sizes=self.at
        )
        if worst.relative > allowed:
            rounding = _own_rounding(self.smaller, graph, tried, observed) * worst.scale
            least = HALF_STEP if allowed == HALF_TOLERANCE else 0.0
            return replace(facts, rounding=max(rounding, least))
        if keep.all() or not self.view.parts:
            return replace(facts, passed=True)
        seen = min(control.shown(tried, recorded, allowed) for control in controls)
        # Outputs that are zero everywhere have no scale: whatever is compared is equal.
        passed = worst.scale > 0 and seen >= CONTROL_FACTOR * allowed
        return replace(facts, passed=passed, negative_control=seen * worst.scale)


def _worst(
    pruned: FedModel,
    tried: list[tuple[Arrays, Arrays]],
    observed: list[str],
    more: list[str],
    progress: Progress | None,
) -> tuple[Difference, list[Arrays]]:
    """The largest relative difference of the pruned model, over all inputs.

    And what the tensors ``more`` of it are, on each.
    """
    differences = [Difference(0.0, 0.0)]
    recorded: list[Arrays] = []
    try:
        candidate = pruned.session(list(dict.fromkeys([*tried[0][1], *more])))
        for k, (feeds, expected) in enumerate(tried):
            made = candidate.run(feeds)
            differences.append(difference(expected, made, observed))
            recorded.append({name: made[name] for name in more})
            if progress is not None:
                progress("verifying", k + 1, len(tried))
    except ModelError as error:
        raise VerificationError(
            f"the pruned model does not run ({error}): this is a bug of reprune-onnx; please report"
            " the model"
        ) from error
    return max(differences, key=lambda d: (d.relative, d.scale)), recorded


def _own_rounding(
    pruned: FedModel,
    graph: Graph,
    tried: list[tuple[Arrays, Arrays]],
    observed: list[str],
) -> float:
    """The relative difference that the last digit of the model's inputs makes when pruned."""
    session, rng = pruned.session(list(tried[0][1])), np.random.default_rng(0)
    given = {i.name for i in graph.inputs}
    largest = 0.0
    for feeds, _ in tried:
        moved = {
            name: np.nextafter(a, rng.choice([-1, 1], a.shape).astype(a.dtype) * np.inf)
            if a.dtype.kind == "f" and name in given
            else a
            for name, a in feeds.items()
        }
        largest = max(
            largest, difference(session.run(feeds), session.run(moved), observed).relative
        )
    return largest


def _differs(result: Verification) -> bool:
    return result.max_abs_diff > result.tolerance * result.scale


def _amplified(result: Verification) -> bool:
    """Whether the model's own rounding may be all that differs."""
    return _differs(result) and _AMPLIFIED * result.rounding >= result.max_abs_diff


def _hidden(result: Verification) -> bool:
    """Whether the models agree, and a wrong cut would as well."""
    return not result.passed and not _differs(result)


def check(result: Verification) -> None:
    """Raise VerificationError where a verification did not pass, saying which half failed."""
    if result.passed:
        return
    limit = result.tolerance * result.scale
    tried = f"inputs tried: {'; '.join(result.inputs)}" if result.inputs else "on random inputs"
    if _amplified(result):
        raise VerificationError(
            f"nothing could be proven: the model amplifies rounding, the last digit of its inputs"
            f" (or random numbers of its own) to {result.rounding:.3g} in an output of at most"
            f" {result.scale:.3g}; the pruned model's differ by {result.max_abs_diff:.3g}"
            f" ({tried}; --no-verify writes it unproven)"
        )
    if _differs(result):
        raise VerificationError(
            f"the pruned model differs from the masked original by {result.max_abs_diff:.3g}, more"
            f" than the {limit:.3g} allowed: this is a bug of reprune-onnx; please report the model"
        )
    raise VerificationError(
        f"nothing could be proven: outputs are at most {result.scale:.3g}, and a deliberately wrong"
        f" cut changes them by only {result.negative_control:.3g} ({tried}); give --calibration"
        " images on which outputs depend on the weights (--no-verify writes this one unproven)"
    )
