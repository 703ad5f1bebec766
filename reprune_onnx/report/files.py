"""The destination of a pruning's result, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from reprune_onnx.atomic import Files, check_out
from reprune_onnx.errors import OutputError
from reprune_onnx.json_text import json_bytes
from reprune_onnx.model import beside


def report_path(model: Path) -> Path:
    """``x.report.json`` beside ``x.onnx``."""
    return model.with_name(f"{model.stem}.report.json")


def int8_path(model: Path) -> Path:
    """``x-int8.onnx`` beside ``x.onnx``."""
    return model.with_name(f"{model.stem}-int8.onnx")


@dataclass(frozen=True)
class Destination:
    """The files to write: ``model`` is None in a dry run, ``int8`` where it is not asked for."""

    model: Path | None
    report: Path
    force: bool = False
    int8: Path | None = None

    @classmethod
    def of(
        cls,
        source: Path,
        out: Path | None,
        report: Path | None,
        *,
        force: bool,
        dry_run: bool,
        read: Iterable[Path] = (),
    ) -> Destination:
        """Defaults beside ``source``; OutputError where a file exists, or cannot be written.

        What is ``read`` beside ``source`` is not written to either, whatever ``force`` says.
        """
        try:
            out = out or source.with_name(f"{source.stem}-pruned.onnx")
            destination = cls(None if dry_run else out, report or report_path(out), force)
            destination.protect([source, *read])
            destination._check_writable()
        except (OSError, ValueError) as error:
            raise OutputError(f"'{out or source}' cannot name a file: {error}") from error
        return destination

    def with_int8(self) -> Destination:
        """The same, and a model in int8 beside the model; OutputError where it cannot be."""
        if self.model is None:
            return self
        more = replace(self, int8=int8_path(self.model))
        more._check_writable()
        return more

    def protect(self, sources: Iterable[Path]) -> None:
        """Raise OutputError where one of the files that were read would be written to."""
        if self.model is not None and _same(self.model, self.report):
            raise OutputError(f"'{self.model}' cannot be both the model and its report")
        # weights are written beside a model that is large
        models = [model for model in (self.model, self.int8) if model is not None]
        for path in (*models, *map(beside, models), self.report):
            for source in sources:
                if _same(path, source):
                    raise OutputError(f"'{path}' is read, so it is never written to")

    def _check_writable(self) -> None:
        for path in (self.model, self.int8, self.report):
            if path is not None:
                check_out(path, force=self.force)

    def files(self) -> Files:
        """The files to write, together; without ``force`` none that another run wrote goes."""
        return Files(replace=self.force)

    def stage_report(self, report: Mapping[str, object], files: Files) -> None:
        """Write the report as one of ``files``."""
        files.add(self.report, json_bytes(report))


def _same(a: Path, b: Path) -> bool:
    try:
        return a.samefile(b)
    except OSError:
        return a.resolve() == b.resolve()
