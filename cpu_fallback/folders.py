"""Where compiled kernels and measurements of this machine are kept."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def base_folder() -> Path | None:
    """Under NUMBA_CACHE_DIR if that is set, else in the user's cache folder; None for a user without a home."""
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(chosen) / "wgpu_infer"
    try:
        home = Path.home()
    except RuntimeError:
        return None
    if sys.platform == "win32":
        root = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        root = home / "Library" / "Caches"
    else:
        root = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return root / "wgpu_infer" / "kernels"
