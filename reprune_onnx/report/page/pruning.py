"""The part of the page on a pruning: its target, what was reached, and each layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reprune_onnx.report.page.html import Content, Html, number, section, table, tag
from reprune_onnx.report.page.sources import ReportFile, Sources

_ASKED = {
    "sparsity": "channel sparsity",
    "macs_reduction": "fewer multiply-adds",
    "params_reduction": "fewer parameters",
    "latency_reduction": "less latency",
}
_SIZES = (("macs", "multiply-adds"), ("params", "parameters"), ("bytes", "file size, bytes"))


def summaries(sources: Sources) -> list[Html]:
    """One section for every pruning."""
    return [_summary(source, sources, k) for k, source in enumerate(sources.of("prune"))]


def pruned_name(source: ReportFile) -> str:
    """The model that a report lies beside: ``x.onnx`` for ``x.report.json``."""
    return f"{source.path.name.removesuffix('.json').removesuffix('.report')}.onnx"


def _summary(source: ReportFile, sources: Sources, k: int) -> Html:
    data = source.data
    before, after = data["before"], data["after"]
    cards = [_asked(name, asked, data) for name, asked in data["requested"].items()]
    cards += [
        _card(
            title,
            _reduction(before[name], after[name]),
            [number(before[name]), " → ", number(after[name])],
        )
        for name, title in _SIZES
    ]
    cards += _accuracy_card(source, sources) + _speed_card(source, sources)
    proof, recovery = data.get("verification"), data.get("recovery")
    facts: list[Content] = [tag("li", _proof(proof)), tag("li", _recovery(recovery))]
    facts += [tag("li", note) for note in data.get("notes") or ()]
    return section(
        f"{Path(data['source']['path']).name} → {pruned_name(source)}",
        tag("div", cards, class_="cards"),
        tag("ul", facts, class_="facts"),
        tag("h3", "Layers"),
        _layers(data["layers"]),
        _locks(data),
        id_=f"pruning-{k}",
    )


def _asked(name: str, asked: Any, data: Mapping[str, Any]) -> Html:
    reached = data["achieved"].get(name)
    if name == "max_drop":
        return _card(
            "asked: points lost at most",
            number(asked, "g"),
            ["lost ", number(reached, ".2f")],
        )
    title = _ASKED.get(name, name)
    return _card(f"asked: {title}", number(asked, ".2%"), ["reached ", number(reached, ".2%")])


def _accuracy_card(source: ReportFile, sources: Sources) -> list[Html]:
    """The top-1 accuracy of the pruned model, beside the original's, where they were measured."""
    top1 = {_file(s.data.get("model")): s.data["top1"] for s in sources.of("evaluation")}
    before, after = (top1.get(_file(name)) for name in _pair(source))
    if after is None:
        return []
    below = ["the original has ", number(before, ".2f", " %")] if before is not None else None
    return [_card("top-1 accuracy", number(after, ".2f", " %"), below)]


def _speed_card(source: ReportFile, sources: Sources) -> list[Html]:
    """The largest measured speedup of the pruned model."""
    original, pruned = map(_file, _pair(source))
    rows = [
        (not row.get("noisy"), row["speedup"], row["batch_size"])
        for result in sources.of("bench")
        if result.data["rows"] and _file(result.data["rows"][0]["model"]) == original
        for row in result.data["rows"]
        if _file(row["model"]) == pruned and row.get("speedup") is not None
    ]
    if not rows:
        return []
    steady, speedup, batch = max(rows)
    below = ["at batch ", number(batch), None if steady else ", a noisy measurement"]
    return [_card("speedup, the largest", number(speedup, ".2f", "×"), below)]


def _pair(source: ReportFile) -> tuple[str, str]:
    return source.data["source"]["path"], pruned_name(source)


def _file(path: Any) -> str:
    """The key of a model in files of several commands: its name without folder and extension."""
    return Path(str(path or "")).stem


def _card(title: str, value: Content, below: Content) -> Html:
    return tag(
        "div",
        tag("div", title, class_="what"),
        tag("div", value, class_="big"),
        tag("div", below, class_="below"),
        class_="card",
    )


def _reduction(before: float, after: float) -> Content:
    return f"−{1 - after / before:.1%}" if before else "–"


def _proof(verification: Mapping[str, Any] | None) -> Content:
    if verification is None:
        return "the cut was not verified (--no-verify)"
    control = verification["negative_control"]
    wrong: list[Content] = ["a deliberately wrong cut differs by ", number(control, ".2g")]
    return [
        "verified: the pruned model",
        f" at {verification['sizes']}" if verification.get("sizes") else None,
        " differs by ",
        number(verification["max_abs_diff"], ".2g"),
        " from the masked original, ",
        "seen behind the cuts only, at a" if verification.get("inner") else "at an output",
        " scale of ",
        number(verification["scale"], ".3g"),
        "; ",
        *(wrong if control else ["nothing was cut"]),
    ]


def _recovery(recovery: Mapping[str, Any] | None) -> Content:
    if recovery is None:
        return "nothing was recovered after the cut"
    said: list[Content] = [f"recovered by {recovery['method']}"]
    if recovery["samples"]:
        said += [" on ", number(recovery["samples"]), " images"]
    return [*said, " in ", number(recovery["seconds"], ".1f"), " s"]


def _layers(layers: Sequence[Mapping[str, Any]]) -> Html:
    """Every layer with its width before and after, as a bar."""
    widest = max((layer["out_channels"][0] for layer in layers), default=1)
    rows = []
    for layer in layers:
        before, after = layer["out_channels"]
        bar = tag(
            "div",
            tag(
                "div",
                class_="after whole" if after == before else "after",
                style=f"width:{100 * after / max(before, 1):.4g}%",
            ),
            class_="bar",
            style=f"width:{max(100 * before / widest, 1):.4g}%",
        )
        rows.append(
            [
                tag("code", layer["node"]),
                bar,
                number(before),
                number(after),
                number(layer["sparsity"], ".1%"),
                number(layer["coverage"], ".1%"),
            ]
        )
    heads = ["layer", "width", "before", "after", "sparsity", "coverage"]
    return table(heads, rows, right=range(2, 6), class_="layers")


def _locks(data: Mapping[str, Any]) -> list[Html]:
    """Channels that could not go, and their share of all channels."""
    locked, channels = data["locked"], data["before"]["channels"]
    if not locked:
        return [tag("h3", "Locks"), tag("p", "No channel is locked.")]
    rows = [
        [
            number(lock["channels"]),
            _share(lock["channels"], channels),
            tag("code", lock["node"] or "–"),
            lock["reason"],
        ]
        for lock in sorted(locked, key=lambda lock: -lock["channels"])
    ]
    heads = ["channels that stay", "of all", "node", "reason"]
    return [
        tag("h3", "Locks, and what they cost"),
        tag(
            "p", "A channel that several reasons hold stands in each of their rows.", class_="small"
        ),
        table(heads, rows, right=(0, 1), class_="locks"),
        *_unpruned(
            [
                (layer["node"], layer["stays"], layer["stays_macs"])
                for layer in data["layers"]
                if layer.get("stays_macs") is not None
            ],
            data["before"]["macs"],
        ),
    ]


def _unpruned(layers: Sequence[tuple[str, str, float]], macs: float) -> list[Html]:
    """The layers that can lose nothing: (name, reason, multiply-adds that stay for it)."""
    if not layers:
        return []
    rows = [[tag("code", name), _share(cost, macs), why] for name, why, cost in layers]
    return [
        tag("h3", "Layers that keep all channels"),
        tag(
            "p",
            "The share of the multiply-adds that would go with all channels of the layer, and of"
            " those tied to it, but one.",
            class_="small",
        ),
        table(["layer", "multiply-adds", "why"], rows, right=(1,), class_="locks"),
    ]


def _share(part: float, total: float) -> Content:
    return f"{part / total:.1%}" if total else "–"


def analyses(sources: Sources) -> list[Html]:
    """The largest possible reduction, of every analysis."""
    parts = []
    for k, source in enumerate(sources.of("analysis")):
        data, most = source.data, source.data["summary"]["largest_macs_reduction"]
        rows = [
            [number(lock["channels"]), tag("code", lock["node"] or "–"), lock["reason"]]
            for lock in data["locked"]
        ]
        parts.append(
            section(
                f"What can go from {Path(data['model']).name}",
                tag(
                    "p",
                    "At most ",
                    number(most, ".1%"),
                    " of the multiply-adds can go; the rest is locked or is"
                    " the last channel of its layer.",
                ),
                table(["channels", "node", "reason"], rows, right=(0,), class_="locks"),
                *_unpruned(
                    [
                        (layer["node"], layer["stays"]["reason"], layer["stays"]["macs"])
                        for layer in data.get("layers", ())
                        if layer["stays"] is not None
                    ],
                    data.get("macs", 0),
                ),
                id_=f"analysis-{k}",
            )
        )
    return parts
