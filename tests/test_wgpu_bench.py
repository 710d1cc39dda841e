"""The WebGPU bench: what it computes, what it says without an adapter or a peer, and one tiny run of it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from benches import wgpu_inference
from benches.cpu_targets import Workload
from benches.model_files import split_model
from benches.wgpu_targets import DEFAULT_ROWS, ROWS, TARGETS, target_of
from wgpu_infer.errors import DeviceError


def test_targets_name_models_and_goals_that_exist():
    goals = {work.goal for work in ROWS.values()}
    for model, ratios in TARGETS.items():
        split_model(model)
        assert ratios.keys() <= goals
    assert [target_of("mini:Q4_0", row) for row in DEFAULT_ROWS] == [0.12, 0.03]
    assert target_of("mini:Q4_0", "prefill-512") is None and target_of("mini:Q8_0", "decode-0") is None


@pytest.mark.parametrize(("ratio", "verdict"), [(0.12, "PASS"), (0.119, "short"), (None, "")])
def test_verdicts(ratio, verdict):
    row = {"model": "mini:Q4_0", "row": "decode-0"} | ({"ratio": {"median": ratio}} if ratio else {})
    assert wgpu_inference.judge(row) == verdict


def test_without_an_adapter_it_says_so_and_succeeds(monkeypatch):
    def refuse():
        raise DeviceError("no WebGPU adapter was found")

    monkeypatch.setattr(wgpu_inference, "list_adapters", refuse)
    done = CliRunner().invoke(wgpu_inference.main, [])
    assert done.exit_code == 0 and "no WebGPU adapter" in done.output


def test_without_a_peer_it_gives_our_figures(webgpu, tmp_path, monkeypatch):
    monkeypatch.setattr(wgpu_inference, "is_installed", lambda: False)
    monkeypatch.setitem(wgpu_inference.ROWS, "decode-0", Workload("decode", 3, goal="decode"))
    options = ["--model", "tiny-llama:Q4_0", "--rows", "decode-0", "--alternations", "1", "--tokens", "2"]
    done = CliRunner().invoke(wgpu_inference.main, [*options, "--json", str(tmp_path / "out.json")])
    assert done.exit_code == 0, done.output
    assert "our figures alone" in done.output and "0 of 0 targets" in done.output
    (row,) = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert row["ours"] > 0 and row["cpu_ms"] > 0 and "ratio" not in row and row["dispatches"] >= 5
