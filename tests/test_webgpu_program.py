"""Recorded steps on WebGPU: the same bits as the eager path, recorded anew after an error, split by work."""

from __future__ import annotations

import numpy as np
import pytest
from test_webgpu_faults import run_child
from tiny_model import write_tiny

import wgpu_infer as wi
from tools.make_model import make_model
from wgpu_infer.backends.webgpu import native_replay, recorder, selftest
from wgpu_infer.backends.webgpu.backend import WebGPUBackend
from wgpu_infer.backends.webgpu.program import split
from wgpu_infer.backends.webgpu.recorder import Dispatch
from wgpu_infer.contracts.cases import random_weight
from wgpu_infer.contracts.table import OPS
from wgpu_infer.engine.engine import make_batch
from wgpu_infer.errors import DeviceError

pytestmark = pytest.mark.webgpu
STEPS = 6


@pytest.fixture
def adding(webgpu):
    """(backend, x, program): the program adds 1 to x, then 10."""
    x = webgpu.array(np.zeros(8, np.float32))
    ones, tens = webgpu.array(np.ones(8, np.float32)), webgpu.array(np.full(8, 10, np.float32))

    def build():
        webgpu.run(OPS["add"], x, ones, n=8, period=8)
        webgpu.run(OPS["add"], x, tens, n=4, period=4)

    return webgpu, x, webgpu.program(build)


def run_steps(path, eager: bool) -> list[np.ndarray]:
    """Logits of a prompt and of some tokens after it, as bits."""
    with wi.LLM(path, device=WebGPUBackend(eager=eager), context=64) as llm:
        engine = llm._engine
        assert engine.backend.eager == eager

        def logits(rows, outputs, phase):
            return engine.logits_of(make_batch(rows, outputs, phase)).view(np.uint32)

        def steps():
            slot = engine.cache.reserve(32)
            out = [logits([(3 + i, slot, i) for i in range(5)], [4, 1], "prefill")]
            for at in range(5, 5 + STEPS):
                out.append(logits([(int(out[-1][0].view(np.float32).argmax()), slot, at)], [0], "decode"))
            return out

        return llm._worker.call(steps)


@pytest.mark.parametrize("model", ["embedded", "tiny", "tiny-qwen2:Q4_K_M", "tiny, split"])
def test_recorded_and_eager_steps_give_the_same_bits(webgpu, model, tmp_path, monkeypatch):
    path = None if model == "embedded" else tmp_path / "tiny.gguf"
    if ":" in model:
        make_model(*model.split(":"), path)
    elif path:
        write_tiny(path)
    if "split" in model:
        monkeypatch.setattr(recorder, "MAX_QUEUED", 7)
    for recorded, eager in zip(run_steps(path, False), run_steps(path, True), strict=True):
        assert len(np.unique(recorded)) > 10
        np.testing.assert_array_equal(recorded, eager)


def test_the_environment_chooses_the_eager_path(webgpu, monkeypatch):
    assert not webgpu.eager
    monkeypatch.setenv("WGPU_INFER_EAGER", "1")
    with WebGPUBackend() as backend:
        assert backend.eager


def test_a_timed_step_runs_once_even_if_waiting_for_it_fails(adding, monkeypatch):
    backend, x, program = adding
    wait, waits = backend.runtime.buffers.wait_idle, []

    def fail_behind_the_step():
        waits.append(len(waits))
        if waits[-1] == 1:
            raise DeviceError("reading back: Not enough memory left.")
        wait()

    with monkeypatch.context() as patch:
        patch.setattr(backend.runtime.pace, "wants", lambda op, work: True)
        patch.setattr(backend.runtime.buffers, "wait_idle", fail_behind_the_step)
        program()
    np.testing.assert_array_equal(backend.read(x, (8,)), [11] * 4 + [1] * 4)
    assert waits == [0, 1]


def test_a_program_runs_as_often_as_it_is_called(adding):
    """Recording runs nothing; calls need no read in between; writes and plain ops keep their places."""
    backend, x, program = adding
    assert not backend.read(x, (8,)).any()
    program()
    program.run(3)
    backend.run(OPS["add"], x, x_plus := backend.array(np.full(1, 0.5, np.float32)), n=8, period=1)
    program()
    np.testing.assert_array_equal(backend.read(x, (8,)), [55.5] * 4 + [5.5] * 4)
    backend.write(x, np.full(8, 100, np.float32))
    program()
    np.testing.assert_array_equal(backend.read(x, (8,)), [111] * 4 + [101] * 4)
    assert x_plus is not None


def test_a_program_says_what_it_consists_of(adding):
    _, _, program = adding
    assert [(d.op, d.format, d.params["n"], d.groups) for d in program.dispatches] == [
        ("add", None, 8, (1, 1, 1)),
        ("add", None, 4, (1, 1, 1)),
    ]


def test_an_empty_program_does_nothing(webgpu):
    webgpu.program(lambda: None)()


def test_an_error_while_recording_leaves_the_backend_usable(webgpu):
    def build():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        webgpu.program(build)
    x = webgpu.array(np.zeros(1, np.float32))
    webgpu.run(OPS["add"], x, webgpu.array(np.ones(1, np.float32)), n=1, period=1)
    assert webgpu.read(x, (1,))[0] == 1


def test_an_error_while_replaying_records_anew(adding, caplog):
    """The native library's own refusal, of a bind group that belongs to another layout: nothing of it was submitted."""
    backend, x, program = adding
    program()
    first = program.dispatches
    other = backend.runtime.pipelines.bind(("read",), [backend.array(np.ones(4, np.float32)).payload])
    program._replay._table[1, 1] = address_of(other)
    program()
    assert "recorded anew" in caplog.text and program.dispatches is not first
    program()
    np.testing.assert_array_equal(backend.read(x, (8,)), [33] * 4 + [3] * 4)


def address_of(bind_group) -> int:
    from wgpu.backends.wgpu_native._ffi import ffi

    return int(ffi.cast("uintptr_t", bind_group._internal))


def test_an_error_that_comes_again_is_raised(adding, monkeypatch):
    _, _, program = adding

    def fail(self):
        raise DeviceError("broken")

    monkeypatch.setattr(native_replay.Replay, "__call__", fail)
    with pytest.raises(DeviceError, match="broken"):
        program()


def test_a_lost_device_is_an_error_and_no_abort(webgpu):
    code = """
        import numpy as np
        from wgpu_infer.backends.webgpu.backend import WebGPUBackend
        from wgpu_infer.contracts.table import OPS
        from wgpu_infer.errors import DeviceError

        backend = WebGPUBackend(eager={eager})
        x = backend.array(np.zeros(4, np.float32))
        y = backend.array(np.ones(4, np.float32))
        program = backend.program(lambda: backend.run(OPS["add"], x, y, n=4, period=4))
        program()
        backend.device.handle.destroy()
        for _ in range(2):
            try:
                program()
            except DeviceError as error:
                print("lost" if "was lost" in str(error) else error)
        backend.close()
        try:
            program()
        except DeviceError as error:
            print("lost" if "was lost" in str(error) else error)
    """
    for eager in (False, True):
        child = run_child(code.format(eager=eager))
        assert child.returncode == 0, child.stderr
        assert child.stdout.split() == ["lost"] * 3


def test_a_closed_backend_s_program_refuses(webgpu):
    backend = WebGPUBackend()
    x = backend.array(np.zeros(4, np.float32))
    program = backend.program(lambda: backend.run(OPS["argmax"], x, backend.empty((1,), np.uint32), rows=1, cols=4))
    backend.close()
    with pytest.raises(DeviceError, match="closed"):
        program()


def test_replay_is_not_used_where_its_interface_is_gone(webgpu, monkeypatch, caplog):
    monkeypatch.setattr(native_replay, "FUNCTIONS", ("wgpuNoSuchFunction",))
    with WebGPUBackend() as backend:
        assert backend.eager
    assert "through wgpu's public API" in caplog.text and "wgpuNoSuchFunction" in caplog.text


def test_replay_is_not_used_where_it_computes_wrongly(webgpu, monkeypatch, caplog):
    class Half(native_replay.Replay):
        def __init__(self, device, submissions):
            super().__init__(device, submissions[:1])

    monkeypatch.setattr(selftest, "Replay", Half)
    with WebGPUBackend() as backend:
        assert backend.eager
    assert "wrong results" in caplog.text


def test_programs_run_without_numba(webgpu):
    code = """
        import sys
        sys.modules["numba"] = None
        import numpy as np
        from wgpu_infer.backends.webgpu.backend import WebGPUBackend
        from wgpu_infer.contracts.table import OPS

        with WebGPUBackend() as backend:
            x = backend.array(np.zeros(4, np.float32))
            y = backend.array(np.ones(4, np.float32))
            program = backend.program(lambda: backend.run(OPS["add"], x, y, n=4, period=4))
            program.run(3)
            print(backend.eager, backend.read(x, (4,)))
    """
    child = run_child(code)
    assert child.returncode == 0, child.stderr
    assert child.stdout.strip() == "True [3. 3. 3. 3.]"


def dispatch(work: float) -> Dispatch:
    return Dispatch("x", None, None, np.zeros(64, np.uint8), (1, 1, 1), work=work)


def test_submissions_are_split_by_work_and_number():
    works = [6e9, 1e9, 2e9, 18e9, 1.0, 0.0]
    split_works = [[d.work for d in submission] for submission in split(map(dispatch, works), 8e9)]
    assert split_works == [[6e9, 1e9], [2e9], [18e9], [1.0, 0.0]]
    assert [len(s) for s in split([dispatch(0.0)] * (2 * recorder.MAX_QUEUED + 3), 8e9)] == [512, 512, 3]


def test_a_split_program_gives_the_same_result(adding, monkeypatch):
    backend, x, program = adding
    monkeypatch.setattr(recorder, "MAX_QUEUED", 1)
    program.run(2)
    assert len(program._replay._commands) == 2
    np.testing.assert_array_equal(backend.read(x, (8,)), [22] * 4 + [2] * 4)


def test_recorded_work_is_that_of_the_contract(webgpu):
    x, w, out = webgpu.empty((3, 64)), webgpu.weight(random_weight("Q8_0", 8, 64, 0)), webgpu.empty((3, 8))
    sizes = {"tokens": 3, "rows": 8, "cols": 64, "row0": 0, "stride": 8}
    program = webgpu.program(lambda: webgpu.run(OPS["matvec"], x, w, out, **sizes))
    assert [d.work for d in program.dispatches] == [2 * 3 * 8 * 64]
