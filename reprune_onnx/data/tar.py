"""The images of an uncompressed ``.tar`` of a folder, found in place: nothing is extracted."""

from __future__ import annotations

import tarfile
from dataclasses import replace
from pathlib import Path, PurePosixPath

from reprune_onnx.data.image_folder import SUFFIXES, Entry, ImageFile, hidden
from reprune_onnx.errors import DataError


def list_tar(path: Path) -> list[Entry]:
    """Return the sub-folders and images of a tar, without the one folder that was packed, if any.

    Links, devices and names that are absolute, contain ``..`` or are hidden are left out.
    """
    listed: dict[tuple[str, ...], Entry] = {}
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                entry = _entry(member, path)
                if entry is not None:
                    listed[entry.parts] = entry  # the later of two members of one name counts
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{path} cannot be read as an uncompressed tar: {' '.join(str(error).split())}; "
            "check the download, decompress it first where it is a .tar.gz, or unpack it"
        ) from error
    entries = list(listed.values())
    tops = {entry.parts[0] for entry in entries}
    if len(tops) == 1 and any(len(entry.parts) > 1 for entry in entries):
        entries = [replace(e, parts=e.parts[1:]) for e in entries if len(e.parts) > 1]
    return entries


def _entry(member: tarfile.TarInfo, path: Path) -> Entry | None:
    """Return what a member is to us; None for what is left out."""
    pure = PurePosixPath(member.name)
    if pure.is_absolute() or not pure.parts or any(p == ".." or hidden(p) for p in pure.parts):
        return None
    if member.isdir():
        return Entry(pure.parts)
    if not member.isreg() or member.issparse():
        return None
    if pure.suffix.lower() not in SUFFIXES:
        return Entry(pure.parts, left_out=True)
    file = ImageFile(f"{path}:{member.name}", path, member.offset_data, member.size)
    return Entry(pure.parts, file)
