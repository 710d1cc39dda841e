"""The notebook runs from top to bottom."""

from __future__ import annotations

import os

import pytest
from conftest import ROOT, child_environ


def test_the_tour_runs():
    nbformat = pytest.importorskip("nbformat", reason="the extra `test` is not installed")
    nbclient = pytest.importorskip("nbclient", reason="the extra `test` is not installed")
    pytest.importorskip("matplotlib", reason="the extra `test` is not installed")
    notebook = nbformat.read(ROOT / "docs" / "tour.ipynb", as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(ROOT)}})
    client.execute(env=child_environ())
    said = "\n".join(o.get("text", "") for cell in notebook.cells for o in cell.get("outputs", []))
    assert "all agree" in said and "steps of 1 token timed" in said
    assert any("image/png" in o.get("data", {}) for cell in notebook.cells for o in cell.get("outputs", []))
    if os.environ.get("EXPECT_WEBGPU") == "1":
        assert "[ 1.  3.  5.  7.  9. 11. 13. 15.]" in said
