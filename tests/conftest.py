"""Fixtures shared by all tests: where the reference files are, and whether a skip is allowed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


def need_shared(*names: str) -> Path:
    """Path of a reference file; skips (or fails, with EXPECT_SHARED=1) where it is absent."""
    path = SHARED.joinpath(*names)
    if not path.exists():
        message = f"reference file {'/'.join(names)} is not on this machine"
        if os.environ.get("EXPECT_SHARED") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return path


@pytest.fixture(scope="session")
def shared():
    return need_shared
