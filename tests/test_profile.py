"""Profiles: what is counted, timed and written, on data made by hand and on models that run."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from tiny_model import write_tiny

from wgpu_infer.backends.timing import Event, Rates, Span, Step, Timing
from wgpu_infer.backends.webgpu import rates
from wgpu_infer.backends.webgpu.timestamps import Timestamps
from wgpu_infer.contracts.work import Keys
from wgpu_infer.errors import ParameterError, UnsupportedError
from wgpu_infer.llm import LLM
from wgpu_infer.profile import Profile
from wgpu_infer.sampling.params import SamplingParams

PRODUCT = {"tokens": 1, "rows": 1000, "cols": 320, "row0": 0, "stride": 1000}
GREEDY = SamplingParams(max_tokens=7, temperature=0.0, ignore_eos=True)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("profile") / "tiny.gguf")


@pytest.fixture
def profile():
    """Two products of 1 ms each, and a norm of 2 ms."""
    events = [Event("matvec", "Q4_0", PRODUCT, None, 0, 5.0 + i, 1e-3) for i in range(2)]
    events.append(Event("rms_norm", None, {"rows": 1, "dim": 10, "eps": 1e-5}, None, 0, 9.0, 2e-3))
    steps = [Step(1, 3, 4e-3, True), Step(1, 3, 3e-3, False)]
    spans = [Span("encode", 100.0, 1e-4), Span("encode", 101.0, 3e-4), Span("submit", 100.1, 5e-5)]
    return Profile("a GPU", 10, Timing(events, spans, steps, Rates(copy=1e9, float32=1e9, int8=1e12)))


def test_rows_add_up(profile):
    product, norm = profile.rows
    assert (product.op, product.format, product.shape, product.calls) == ("matvec", "Q4_0", "1000x320", 2)
    assert product.seconds == norm.seconds == 2e-3 and product.share == norm.share == 0.5
    nbytes = 1000 * 10 * 18 + 4 * 320 + 4 * 1000
    assert product.gb_s == pytest.approx(nbytes / 1e-3 / 1e9)
    assert product.gflop_s == pytest.approx(2 * 320_000 / 1e-3 / 1e9)
    assert product.bound == "arithmetic" and product.roof == pytest.approx(0.64)
    assert norm.bound == "memory" and norm.roof == pytest.approx(4 * 30 / 2e-3 / 1e9)


def test_int8_products_are_held_to_the_int8_rate(profile):
    profile.timing.events = [Event("matvec_act8", "Q4_0", PRODUCT, None, 0, 0.0, 1e-3)]
    (row,) = profile.rows
    assert row.bound == "memory"
    profile.timing.rates = None
    assert profile.rows[0].roof is None


def test_it_prints_what_it_holds(profile):
    text = str(profile)
    assert text.startswith("a GPU\n") and "2 steps of 1 token timed, 3 calls each, 4.000 ms one by one" in text
    assert "3.000 ms together" in text and "10 dispatches" in text and "encode 200 us, submit 50 us" in text
    assert "1.0 GB/s copied, 1 GFLOP/s float32, 1000 GOP/s int8" in text
    assert "nothing ran" in str(Profile("a GPU"))
    assert json.loads(json.dumps(profile.to_dict()))["rows"][0]["shape"] == "1000x320"


def test_the_trace_has_every_event_in_its_place(profile, tmp_path):
    profile.trace(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    bars = [e for e in events if e["ph"] == "X"]
    assert [e["name"] for e in bars] == ["matvec Q4_0", "matvec Q4_0", "rms_norm", "encode", "encode", "submit"]
    assert bars[0]["ts"] == pytest.approx(0) and bars[1]["ts"] == pytest.approx(1e6)
    assert bars[0]["dur"] == pytest.approx(1000) and bars[0]["args"]["rows"] == 1000
    assert {e["tid"] for e in bars[:3]} != {e["tid"] for e in bars[3:]}
    assert all(e["ts"] > -1e-6 and e["dur"] > 0 for e in bars)


def test_the_plot_shows_every_row(profile, tmp_path):
    pytest.importorskip("matplotlib")
    figure = profile.plot()
    left, right = figure.axes
    assert len(left.patches) == 2 and len(right.lines) == 2 + 2, "two ops and two roofs"
    figure.savefig(tmp_path / "plot.png")


def test_without_matplotlib_it_says_what_to_install(profile, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(UnsupportedError, match="pip install matplotlib"):
        profile.plot()


@pytest.mark.parametrize("device", ["reference", "cpu", pytest.param("webgpu", marks=pytest.mark.webgpu)])
def test_a_generation_is_profiled_and_stays_the_same(path, device, open_once):
    open_once(device)
    with LLM(path, device=device) as llm:
        before = llm.generate([1, 2, 3], GREEDY).token_ids
        with llm.profile() as profile:
            during = llm.generate([1, 2, 3], GREEDY).token_ids
            with pytest.raises(ParameterError, match="already"), llm.profile():
                pass
            assert llm.generate([1, 2, 3], GREEDY).token_ids == before
        assert during == before == llm.generate([1, 2, 3], GREEDY).token_ids
        assert llm.memory().fragmentation < 0.05, "what rates are measured with is given back"
    calls = Counter(event.op for event in profile.timing.events)
    assert sum(row.calls for row in profile.rows) == calls.total()
    timed = [step for step in profile.timing.steps if step.apart]
    assert calls.total() == sum(step.calls for step in timed) and {s.tokens for s in timed} == {1, 3}
    assert calls["embedding"] == len(timed) and all(e.seconds > 0 for e in profile.timing.events)
    attention = [e for e in profile.timing.events if e.op.startswith("attention") and e.params["tokens"] == 1]
    assert all(e.keys == Keys(e.keys.length, 1) and 3 < e.keys.length <= 10 for e in attention) and attention
    assert (profile.layer_dispatches is not None) == (device == "webgpu")
    assert (profile.timing.rates is not None) == (device == "webgpu")


@pytest.mark.webgpu
def test_rates_are_of_this_adapter(webgpu):
    with webgpu.runtime.lock:
        found = rates.measure(webgpu.runtime, Timestamps(webgpu.runtime))
    assert 1e7 < found.copy < 1e14 and 1e8 < found.float32 < 1e15 and 1e8 < found.int8 < 1e16


@pytest.mark.webgpu
def test_timed_dispatches_run_in_order_and_once(webgpu):
    """A copy of a copy: the second sees what the first wrote, and times do not overlap."""
    runtime = webgpu.runtime
    with runtime.lock:
        timestamps = Timestamps(runtime)
        a, b, c = (runtime.create(16 * rates.WG) for _ in range(3))
        runtime.buffers.write(a, np.arange(4 * rates.WG, dtype=np.uint32))
        first, second = (rates.prepare(runtime, "copy", rates.COPY, pair, 1) for pair in ((a, b), (b, c)))
        times = timestamps.apart([first, second])
        assert (np.diff(times.reshape(-1)) >= 0).all() and times[1, 1] > times[0, 0]
        assert (runtime.buffers.read(c, 16 * rates.WG).view(np.uint32) == np.arange(4 * rates.WG)).all()
        assert 0 < timestamps.together([first, second] * 300) < 10
        assert timestamps.apart([first] * 600).shape == (600, 2), "more than one set of queries holds"


@pytest.mark.webgpu
def test_without_timestamps_it_says_so(webgpu, monkeypatch):
    monkeypatch.setattr(webgpu.device, "features", ())
    with pytest.raises(UnsupportedError, match="no timestamp queries"):
        webgpu.timer(lambda: None)
