"""The end of a sentence about a file that cannot be read."""

from __future__ import annotations

_NEXT: dict[type[Exception], str] = {
    FileNotFoundError: "; check the path",
    IsADirectoryError: "; give a file",
    PermissionError: "; make it readable first",
}
"""The next step after an error of the system, where that is clear."""


def reason(error: Exception) -> str:
    """The reason why a file cannot be read, in one line, and the next step where that is clear.

    >>> import errno
    >>> reason(FileNotFoundError(errno.ENOENT, "No such file or directory"))
    'No such file or directory; check the path'
    """
    if isinstance(error, UnicodeDecodeError):
        return "it is no text in UTF-8"
    text = getattr(error, "strerror", None) or " ".join(str(error).split())
    return text + _NEXT.get(type(error), "")
