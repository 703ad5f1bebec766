"""A real browser without a window: what a page becomes in it, what it says, what it asks for."""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-extensions"),
    *("--disable-sync", "--disable-default-apps", "--enable-logging=stderr", "--v=0"),
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)
_ITSELF = "not an origin"  # what the browser asks for of its own accord, not for a page


@dataclass(frozen=True)
class Seen:
    """The document after loading, lines on the console, addresses that were requested."""

    dom: str
    console: list[str]
    requests: list[str]


def find() -> str:
    """The browser's program; skips the test where there is none."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        downloaded = sorted(Path.home().glob(".cache/ms-playwright/chromium*/chrome-linux*/chrome"))
        program = str(downloaded[-1]) if downloaded else None
    if program is None:
        pytest.skip("no Chromium or Chrome is here to open the page in")
    return program


def visit(page: Path, folder: Path) -> Seen:
    """Open a page; ``folder`` takes the browser's profile and its log of the network."""
    log = folder / "net.json"
    folders = (f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}")
    command = [find(), *QUIET, *folders, "--virtual-time-budget=3000", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    events = json.loads(log.read_text())["events"]
    started = [e["params"] for e in events if "initiator" in e.get("params", {})]
    urls = {p["url"] for p in started if p["initiator"] != _ITSELF}
    asked = sorted(url for url in urls if not url.startswith("file:"))
    return Seen(done.stdout, re.findall(r".*CONSOLE.*", done.stderr), asked)
