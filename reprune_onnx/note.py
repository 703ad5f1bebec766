"""A sentence for the user that stands beside a result: what was assumed, or left out, and why."""

from __future__ import annotations

from typing import NewType

Note = NewType("Note", str)
"""Text that is meant as such: mypy takes no other where notes are collected.

So every sentence that can become a note is a call of it, and the tests hold a case for each.
"""
