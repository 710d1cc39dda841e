"""How much one submission holds follows what the device was seen to do, and changes no result."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from tiny_model import write_tiny

from wgpu_infer.backends.webgpu import pace as module
from wgpu_infer.backends.webgpu.backend import WebGPUBackend
from wgpu_infer.backends.webgpu.pace import CHUNK, CUT_ROWS, TARGET_S, UNKNOWN, Pace, main_op
from wgpu_infer.contracts.cases import activations, random_weight
from wgpu_infer.contracts.table import OPS
from wgpu_infer.doctor import examine_backend, kernel_lines
from wgpu_infer.llm import LLM
from wgpu_infer.sampling.params import SamplingParams

OP = "matmul_act8"


@pytest.fixture
def pace(tmp_path, monkeypatch):
    monkeypatch.setenv("WGPU_INFER_CACHE", str(tmp_path))
    return Pace("a GPU")


def test_slower_counts_at_once_faster_by_half_and_short_steps_only_upwards(pace):
    assert pace.limit(OP) == TARGET_S * UNKNOWN
    pace.learn(OP, 8e11, 0.1)
    assert pace.limit(OP) == pytest.approx(TARGET_S * 8e12)
    pace.learn(OP, 2e11, 0.1)
    assert pace.rates[OP] == pytest.approx(2e12)
    pace.learn(OP, 8e11, 0.1)
    assert pace.rates[OP] == pytest.approx(4e12)
    pace.learn(OP, 1e6, 1e-3)
    assert pace.rates[OP] == pytest.approx(4e12), "a short step is mostly waiting"
    pace.learn(OP, 1.6e10, 1e-3)
    assert pace.rates[OP] == pytest.approx(8e12)
    assert pace.limit("matvec") == TARGET_S * UNKNOWN


def test_a_chunk_is_a_submission_between_two_bounds(pace):
    assert pace.chunk(TARGET_S * UNKNOWN / 100) == 64
    pace.learn(OP, 1e12, 1.0)
    assert pace.chunk(TARGET_S * 1e12 / 300) == 256 and pace.chunk(TARGET_S * 1e12 / 256) == 256
    assert pace.chunk(1.0) == CHUNK[1] and pace.chunk(1e15) == CHUNK[0]
    pace.learn("matmul", 1e11, 1.0)
    assert pace.chunk(TARGET_S * 1e12 / 320) == 32, "the slowest kind of product counts"
    pace.learn("matvec", 1e7, 1.0)
    assert pace.chunk(TARGET_S * 1e11 / 64) == 64, "but for those of single tokens"


def test_rates_are_kept_by_device(pace):
    pace.learn(OP, 1e12, 1.0)
    assert Pace("a GPU").rates == pace.rates and Pace("another").rates == {}
    pace.learn(OP, 1.1e12, 1.0)
    assert Pace("a GPU").rates[OP] == 1e12, "little changes are not worth a write"
    pace.learn(OP, 5e11, 1.0)
    assert Pace("a GPU").rates[OP] == 5e11


@pytest.mark.parametrize("kept", ["7", '{"a GPU": 7}', '{"a GPU": {"matmul": "fast", "matvec": 0, "x": true}}', "{"])
def test_damage_costs_the_rates_only(pace, tmp_path, kept):
    (tmp_path / module.FILE).write_text(kept)
    assert Pace("a GPU").rates == {}


def test_threads_that_save_at_once_do_not_spoil_each_others_files(pace, monkeypatch):
    write = Path.write_text

    def interrupted(path, text):
        write(path, text)
        if threading.current_thread() is threading.main_thread():
            other = threading.Thread(target=lambda: Pace("another").learn(OP, 1e12, 1.0))
            other.start()
            other.join()
        return len(text)

    monkeypatch.setattr(Path, "write_text", interrupted)
    pace.learn(OP, 2e12, 1.0)
    assert Pace("a GPU").rates == {OP: 2e12}


def test_the_first_long_steps_are_timed_and_then_a_few(pace):
    work = pace.limit(OP)
    assert not pace.wants(OP, work / 9)
    timed = [i for i in range(40) if pace.wants(OP, work)]
    assert timed == [0, 1, 2, 15, 31]


@contextmanager
def opened(**rates):
    """A backend that believes in these rates and goes on believing."""
    with WebGPUBackend(lowered={"kind": "discrete"}) as backend:
        backend.runtime.pace.rates = dict(rates)
        backend.runtime.pace.wants = lambda op, work: False
        yield backend


@pytest.mark.webgpu
@pytest.mark.parametrize("fmt", ["Q4_0", "MXFP4", "F16", "Q3_K", "IQ4_XS"])
@pytest.mark.parametrize("op", ["matmul", "matmul_act8", "matvec"])
def test_a_product_that_is_too_much_is_cut_by_rows_to_the_same_bits(webgpu, tmp_path, monkeypatch, fmt, op):
    if op == "matmul_act8" and fmt == "F16":
        return  # has no int8 products
    monkeypatch.setenv("WGPU_INFER_CACHE", str(tmp_path))
    rows, cols, tokens = 2 * CUT_ROWS + 90, 512 if fmt[-1] in "KS" else 96, 3
    sizes = {"tokens": tokens, "rows": rows, "cols": cols, "row0": 2, "stride": rows + 5}
    results = []
    for rate in (1e12, 1.0):
        with opened(**{op: rate}) as backend:
            x = backend.array(activations(tokens, cols, seed=1))
            if op == "matmul_act8":
                x, given = backend.act8(tokens, cols), x
                backend.run(OPS["quantize"], given, x, tokens=tokens, cols=cols)
            w = backend.weight(random_weight(fmt, rows, cols, 3))
            out = backend.array(np.full((tokens, rows + 5), 7, np.float32))
            program = backend.program(lambda x=x, w=w, out=out, run=backend.run: run(OPS[op], x, w, out, **sizes))
            [whole] = program.dispatches
            parts = backend.runtime.pace.parts(whole)
            if rate == 1.0:
                assert [p.params["rows"] for p in parts] == [CUT_ROWS, CUT_ROWS, 90]
                assert [p.params["row0"] for p in parts] == [2, 2 + CUT_ROWS, 2 + 2 * CUT_ROWS]
            else:
                assert parts == [whole]
            program()
            results.append(backend.read(out, (tokens, rows + 5)))
            assert len(program._replay._commands) == len(parts)
    assert len(np.unique(results[0])) > tokens * rows / 2
    np.testing.assert_array_equal(*[r.view(np.uint32) for r in results])
    assert (results[1][:, :2] == 7).all() and (results[1][:, -3:] == 7).all()


@pytest.mark.webgpu
def test_a_program_is_cut_anew_when_the_pace_has_changed(webgpu, tmp_path, monkeypatch):
    monkeypatch.setenv("WGPU_INFER_CACHE", str(tmp_path))
    rows, sizes = 64, {"tokens": 1, "rows": 64, "cols": 64, "row0": 0, "stride": 64}
    with opened(matvec=1e12) as backend:
        x, out = backend.array(activations(1, 64, seed=1)), backend.empty((1, rows))
        w = backend.weight(random_weight("Q8_0", rows, 64, 3))

        def build():
            for _ in range(4):
                backend.run(OPS["matvec"], x, w, out, **sizes)

        program, pace = backend.program(build), backend.runtime.pace
        assert main_op(program.dispatches) == ("matvec", 4 * 2 * 64 * 64)
        submissions = []
        for rate in (1e12, 2 * 8192 / TARGET_S, 2.5 * 8192 / TARGET_S, 8192 / TARGET_S, 1e12):
            pace.rates["matvec"] = rate
            program()
            submissions.append(len(program._replay._commands))
        assert submissions == [1, 2, 2, 4, 1]


@pytest.mark.webgpu
def test_steps_are_timed(webgpu, tmp_path, monkeypatch):
    monkeypatch.setenv("WGPU_INFER_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "UNKNOWN", 1e6)
    with LLM(write_tiny(tmp_path / "tiny.gguf"), device="webgpu") as llm:
        llm.generate("a longer prompt", SamplingParams(max_tokens=4, temperature=0.0))
        rates = llm._worker.call(lambda: llm._engine.backend.rates)
    assert any(op.startswith("matmul") for op in rates) and any(op.startswith("matvec") for op in rates)
    assert all(1e6 < rate < 1e12 for rate in rates.values())
    kept = json.loads((tmp_path / module.FILE).read_text())
    assert [set(known) for known in kept.values()] == [set(rates)]
    with LLM(tmp_path / "tiny.gguf", device="webgpu") as llm:
        assert llm._worker.call(lambda: set(llm._engine.backend.rates)) == set(rates)
    assert any("GFLOP/s" in line and "0.25 s" in line for line in kernel_lines(examine_backend("webgpu")))


@pytest.mark.webgpu
@pytest.mark.parametrize("kind, eager", [("discrete", False), ("discrete", True), ("software", False)])
def test_neither_chunks_nor_cuts_change_a_prompt(webgpu, tmp_path, monkeypatch, kind, eager):
    """A prompt in one step, in chunks of 32 tokens, and with a submission for every op: the same logits."""
    monkeypatch.setenv("WGPU_INFER_CACHE", str(tmp_path))
    path = write_tiny(tmp_path / "tiny.gguf")
    seen = []
    for rate in (1e15, 1e6, 1.0):
        with (
            WebGPUBackend(eager=eager, lowered={"kind": kind}) as backend,
            LLM(path, device=backend, context=256) as llm,
        ):
            backend.runtime.pace.wants = lambda op, work: False
            backend.runtime.pace.rates = dict.fromkeys(("matmul", "matmul_act8", "matvec", "matvec_act8"), rate)
            steps, read = [], llm._engine.read_logits

            def note(batch, handle, steps=steps, read=read):
                logits = read(batch, handle)
                steps.append((batch.tokens, logits.view(np.uint32)))
                return logits

            llm._engine.read_logits = note
            ids = [3 + i % 20 for i in range(100)]
            tokens = llm.generate(ids, SamplingParams(max_tokens=6, temperature=0.0, ignore_eos=True)).token_ids
            seen.append((tokens, steps))
    cut = [32, 32, 32, 4] if kind == "discrete" else [100]
    assert [[n for n, _ in steps if n > 1] for _, steps in seen] == [[100], cut, cut]
    for tokens, steps in seen[1:]:
        assert tokens == seen[0][0]
        for (_, mine), (_, first) in zip(steps[len(cut) - 1 :], seen[0][1], strict=True):
            np.testing.assert_array_equal(mine, first)
