"""The GPU report: its plan, its verdicts, its text, and that a section that fails does not stop it."""

from __future__ import annotations

import json
import os

import pytest
from click.testing import CliRunner

from benches.model_files import split_model
from tools import gpu_report, gpu_report_text, gpu_sections
from tools.gpu_targets import MODELS, QUICK_MODELS, TARGETS, judge
from wgpu_infer.backends.timing import Rates
from wgpu_infer.contracts.work import Work
from wgpu_infer.llm import LLM
from wgpu_infer.profile import Row


def test_the_plan_spends_the_budget_and_names_what_exists():
    sections = gpu_report.plan(450.0, MODELS)
    assert sum(sections.values()) == pytest.approx(450.0) and list(sections)[:2] == ["machine", "rates"]
    assert {name.split()[0] for name in sections} - {"model"} == set(gpu_sections.SECTIONS)
    for model in (*MODELS, *QUICK_MODELS):
        split_model(model)
    assert {target[0] for target in TARGETS.values()} - {None} <= set(MODELS)


@pytest.mark.parametrize(
    ("what", "figures", "verdict"),
    [
        ("decode of tinyllama-1.1b Q4_0", {"decode_tok_s": 230.0}, "holds"),
        ("decode of tinyllama-1.1b Q4_0", {"decode_tok_s": 229.9}, "short"),
        ("decode of tinyllama-1.1b Q4_0", {"decode_tok_s": None}, "not measured"),
        ("decode of tinyllama-1.1b Q4_K_M", {"decode_tok_s": 300.0}, "not measured"),
        ("matmul, the best", {"matmul_tflop_s": 12.0}, "holds"),
        ("a layer of a decode step, the longest", {"layer_ms": 1.0}, "short"),
        ("a layer of a decode step, the longest", {"layer_ms": 0.2}, "holds"),
        ("dispatches per layer, the most", {"layer_dispatches": 10}, "holds"),
    ],
)
def test_verdicts(what, figures, verdict):
    rows = {row["target"]: row for row in judge({"ops": {}, "model tinyllama-1.1b:Q4_0": figures})}
    assert rows[what]["verdict"] == verdict


def test_the_longest_layer_of_all_models_counts():
    sections = {"model a": {"layer_ms": 0.2}, "model b": {"layer_ms": 2.0}}
    assert {row["target"]: row["verdict"] for row in judge(sections)}[
        "a layer of a decode step, the longest"
    ] == "short"


def test_what_would_gain_most():
    half = Row("matvec", "Q4_0", "64x64", 3, 1.0, 0.5, Work(1.0, 1.0), 0.4, "memory")
    full = Row("glu", "", "", 3, 1.0, 0.5, Work(1.0, 1.0), 0.9, "memory")
    assert gpu_sections.gain(half)["predicted gain"] == pytest.approx(0.25)
    assert gpu_sections.gain(full)["predicted gain"] == 0
    assert gpu_sections.mean_rate([half, full], "nbytes") == pytest.approx(1e-9)
    assert Rates(1.0, 1.0, 1.0).copy == 1.0


def test_the_text_holds_figures_and_tables():
    found = {"copy_gb_s": 12.345, "adapters": [{"name": "a|b", "limits": {"x": 1}}, {"kind": None}], "none": []}
    text = gpu_report_text.render({"began": "today", "quick": True, "targets": judge({}), "sections": {"rates": found}})
    assert "- copy gb s: 12.35" in text and "| a\\|b | x 1 | - |" in text and "- none: none" in text
    assert text.count("not measured") == len(TARGETS) and "## Rates" in text


def test_a_section_that_fails_or_hangs_leaves_what_it_found(tmp_path, monkeypatch):
    script = tmp_path / "gpu_sections.py"
    monkeypatch.setattr(gpu_report, "__file__", str(tmp_path / "gpu_report.py"))
    begin = "import os, sys, time\nopen(sys.argv[2], 'w').write('{\"passed\": 3}')\nprint('lost')\nsys.stdout.flush()\n"
    script.write_text(begin + "os.abort()")
    found = gpu_report.run_section("ops", 1.0, False, dict(os.environ), tmp_path)
    assert found["passed"] == 3 and found["failed"].startswith("status -6") and "lost" in found["failed"]
    script.write_text(begin + "time.sleep(60)")
    found = gpu_report.run_section("ops", -4.0, False, dict(os.environ), tmp_path)
    assert found["passed"] == 3 and "want of time" in found["failed"]


def test_all_sections_are_reported_whatever_happens(tmp_path, monkeypatch):
    def run_section(name, seconds, quick, env, folder):
        assert env["WGPU_ADAPTER_NAME"] == "1" and seconds > 0
        return {"failed": "no GPU"} if name == "ops" else {"layer_ms": 0.5, "seconds": 1.0}

    monkeypatch.setattr(gpu_report, "run_section", run_section)
    done = CliRunner().invoke(gpu_report.main, ["--out", str(tmp_path), "--adapter", "1", "--quick"])
    assert done.exit_code == 1 and done.output.splitlines()[-1] == "Error: these sections failed: ops"
    report = json.loads((tmp_path / "gpu_report.json").read_text())
    assert list(report["sections"]) == ["machine", "rates", "ops", "agreement", "model tiny-llama:Q4_0"]
    text = (tmp_path / "gpu_report.md").read_text()
    assert "no GPU" in text and "| a layer of a decode step, the longest | < 1 ms | 0.5 | holds |" in text


def test_without_a_gpu_nothing_is_tried(tmp_path, monkeypatch):
    tried = []
    monkeypatch.setattr(gpu_report, "run_section", lambda name, *_: tried.append(name) or {"failed": "no adapter"})
    done = CliRunner().invoke(gpu_report.main, ["--out", str(tmp_path)])
    assert done.exit_code == 1 and tried == ["machine"] and "no GPU to report on" in done.output


@pytest.mark.webgpu
def test_sections_run_on_this_adapter(webgpu, tmp_path, monkeypatch):
    monkeypatch.setenv("WGPU_INFER_CACHE", str(tmp_path / "kept"))
    monkeypatch.setenv("WGPU_INFER_TUNE", "0")  # set by the section, too: restored afterwards
    found = {}
    for name in ("rates", "ops", "model tiny-llama:Q4_0"):
        path = tmp_path / "section.json"
        gpu_sections.main(name, str(path), "60", "--quick")
        found[name] = json.loads(path.read_text())
    assert found["rates"]["copy_gb_s"] > 0 and found["ops"]["failed"] == 0 and found["ops"]["passed"] > 10
    model = found["model tiny-llama:Q4_0"]
    assert model["decode_tok_s"] > 0 and model["prefill_tok_s"] > 0 and 0 < model["busy"] <= 1
    assert model["layer_ms"] > 0 and model["matvec_gb_s"] > 0 and model["matmul_tflop_s"] > 0
    assert all("tokens" not in row["shape"] for row in model["decode_kernels"])
    assert len(model["prefill_next_ideas"]) == 3 and model["decode_kernels"] and model["prefill_kernels"]


@pytest.mark.webgpu
def test_depths_of_run_ahead_are_compared(webgpu, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_sections, "AGREE_TOKENS", 6)
    section = gpu_sections.Section(tmp_path / "section.json", 60.0, quick=True)
    assert gpu_sections.compare_depths(section) == [
        {"depth": 0, "verdict": "agrees"},
        {"depth": 4, "verdict": "agrees"},
    ]
    with LLM(device="webgpu", run_ahead=4) as llm:
        rates = gpu_sections.rates_by_depth(section, llm, 4)
        assert [int(depth) for depth in rates] == list(gpu_sections.DEPTHS) and min(rates.values()) > 0
        assert llm._engine.run_ahead == 4 and llm._engine.state is not None
    with LLM(device="webgpu") as llm:
        assert gpu_sections.rates_by_depth(section, llm, 4) == {}
