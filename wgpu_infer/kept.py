"""What was measured on this machine and is kept: small JSON files that may be damaged, missing or unwritable."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path


def cache_dir() -> Path | None:
    """Where measurements are kept: WGPU_INFER_CACHE, or the user's cache folder; None for a user without a home."""
    if custom := os.environ.get("WGPU_INFER_CACHE"):
        return Path(custom)
    base = os.environ.get("LOCALAPPDATA") or os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(base or Path.home() / ".cache") / "wgpu_infer"
    except RuntimeError:  # no home folder
        return None


def load(name: str) -> dict:
    """The file's object; empty where there is none that can be read."""
    folder = cache_dir()
    try:
        known = json.loads((folder / name).read_text()) if folder else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}


def save(name: str, known: dict) -> None:
    """Replaces the file; where it cannot be written, things are measured again next time."""
    folder = cache_dir()
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = folder / f"{name}.{os.getpid()}.{threading.get_ident()}.part"
        part.write_text(json.dumps(known, indent=1))
        part.replace(folder / name)
    except OSError:
        pass
