"""The engine's thread under hostile callers: closing, dropping, interrupting, cancelling, failing steps."""

from __future__ import annotations

import gc
import random
import threading
import time

import pytest
from tiny_model import tensors, write_tiny

from wgpu_infer.backends.reference import ReferenceBackend
from wgpu_infer.engine import worker
from wgpu_infer.engine.engine import MAX_SEQUENCES
from wgpu_infer.errors import ContextLengthError, OutOfMemoryError, WgpuInferError
from wgpu_infer.llm import LLM
from wgpu_infer.sampling.params import SamplingParams


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("worker") / "tiny.gguf")


@pytest.fixture
def llm(path):
    with LLM(path, device="reference") as model:
        yield model


def params(**changes):
    return SamplingParams(**{"max_tokens": 12, "seed": 5, "ignore_eos": True, **changes})


def held(llm):
    """What requests occupy: pages, table rows, sequences, answer queues, parked commands."""
    llm.generate("a", params(max_tokens=1))  # aborts asked for before this are done after it
    engine, cache = llm._engine, llm._engine.cache
    used = cache.table.shape[0] - len(cache.free_slots), len(cache.owned)
    return *used, len(engine.running), len(engine.waiting), len(llm._worker.answers), len(llm._worker.parked)


NOTHING_HELD = (0,) * 6


def in_thread(function):
    """Starts function; returns a call that waits for what it returned or raised."""
    result = []

    def run():
        try:
            result.append(function())
        except BaseException as error:
            result.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def get():
        thread.join(60)
        assert not thread.is_alive(), "it waits for ever"
        return result[0]

    return get


@pytest.mark.parametrize("call", ["generate", "stream", "logits"])
def test_nobody_waits_for_a_thread_that_has_ended(path, call):
    llm = LLM(path, device="reference")
    hold = threading.Event()
    llm._worker.commands.put(hold.wait)
    llm._worker.close(wait=False)
    asked = in_thread(lambda: getattr(llm, call)("a" if call != "logits" else [1]))
    time.sleep(0.05)  # its command now lies behind the one that ends the thread
    hold.set()
    assert isinstance(asked(), WgpuInferError)


def test_closing_while_many_threads_generate(path):
    for _ in range(4):
        llm = LLM(path, device="reference")

        def use(llm=llm):
            while True:
                llm.generate(["a", "b"], params(max_tokens=2))

        users = [in_thread(use) for _ in range(6)]
        time.sleep(0.02)
        closers = [in_thread(llm.close) for _ in range(2)]
        assert all(isinstance(user(), WgpuInferError) for user in users)
        assert [closed() for closed in closers] == [None, None]


def test_a_dropped_model_ends_its_thread_and_closes_its_device(path):
    class Watched(ReferenceBackend):
        closed = False

        def close(self):
            Watched.closed = True

    llm = LLM(path, device=Watched())
    llm.logits([1, 2])
    thread = llm._worker.thread
    del llm
    gc.collect()
    thread.join(60)
    assert not thread.is_alive() and Watched.closed


def test_a_stream_keeps_its_model(path):
    stream = LLM(path, device="reference").stream("abc", params())
    gc.collect()
    assert len(list(stream)) == 12


def test_logits_wait_for_room(llm):
    alone = llm.logits([1, 2, 3])
    streams = [llm.stream("a", params(max_tokens=20)) for _ in range(MAX_SEQUENCES + 8)]
    assert (llm.logits([1, 2, 3]) == alone).all()
    assert all(len(list(stream)) == 20 for stream in streams)
    streams = [llm.stream("a", params(max_tokens=200)) for _ in range(MAX_SEQUENCES)]
    asked = in_thread(lambda: llm.logits([1, 2, 3]))
    for stream in streams:
        stream.close()
    assert (asked() == alone).all()
    assert held(llm) == NOTHING_HELD


def test_closing_while_logits_wait_for_room(path):
    llm = LLM(path, device="reference")
    streams = [llm.stream("a", params(max_tokens=250)) for _ in range(MAX_SEQUENCES)]
    asked = in_thread(lambda: llm.logits([1, 2, 3]))
    llm.close()
    assert isinstance(asked(), WgpuInferError)
    del streams


@pytest.mark.parametrize("error", [RuntimeError("poison"), MemoryError("none left"), KeyboardInterrupt()], ids=repr)
def test_an_error_in_a_step_ends_all_requests_and_no_more(llm, monkeypatch, error):
    want = llm.generate("abc", params()).token_ids
    engine, raised = llm._engine, []
    real = engine.backend.run

    def poisoned(op, *operands, **values):
        if op.name == "glu" and len(engine.running) == 3 and not raised:
            raised.append(error)
            raise error
        real(op, *operands, **values)

    monkeypatch.setattr(engine.backend, "run", poisoned)
    streams = [llm.stream("abc", params(max_tokens=250)) for _ in range(3)]
    for stream in streams:
        with pytest.raises(type(error)):
            list(stream)
    assert held(llm) == NOTHING_HELD
    assert llm.generate("abc", params()).token_ids == want


def test_one_bad_prompt_leaves_nothing_running(llm):
    for prompts in (["a", "b" * 300, "c"], [[1], [2], [3] * 300]):
        with pytest.raises(ContextLengthError) as caught:
            llm.generate(prompts, params(max_tokens=200))
        assert held(llm) == NOTHING_HELD, caught  # while the exception and its frames are alive


def test_an_interrupt_while_submitting_leaves_nothing_running(llm, monkeypatch):
    def interrupted(future, _thread):
        future.result()  # submitted; then Ctrl-C comes
        raise KeyboardInterrupt

    monkeypatch.setattr(worker, "_wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        llm.stream("abc", params(max_tokens=200))
    monkeypatch.undo()
    assert held(llm) == NOTHING_HELD


def test_an_interrupt_while_loading_stops_the_loading(path, monkeypatch):
    seen, go_on = [], threading.Event()

    def progress(done, _total):
        seen.append(done)
        go_on.wait(10)

    def interrupted(_future, _thread):
        while not seen:
            time.sleep(0.001)
        raise KeyboardInterrupt

    monkeypatch.setattr(worker, "_wait", interrupted)
    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        LLM(path, device="reference", progress=progress)  # does not wait for the thread
    (thread,) = set(threading.enumerate()) - before
    go_on.set()
    thread.join(60)
    assert not thread.is_alive() and len(seen) == 1


def test_threads_that_cancel_at_random_hold_nothing_in_the_end(llm):
    def use(seed):
        rng = random.Random(seed)
        for _ in range(5):
            prompt, limit = "abcdefgh"[: rng.randrange(9)] * rng.randrange(1, 20), rng.choice([0, 1, 3, 30])
            stream = llm.stream(prompt, params(max_tokens=limit, stop=rng.choice([(), "ab"])))
            for _ in zip(range(rng.randrange(4)), stream, strict=False):
                pass
            if rng.random() < 0.5:
                stream.close()
                assert list(stream) == []
            del stream
            llm.generate([prompt, "a"], params(max_tokens=limit))
            llm.logits([1, 2, 3])

    users = [in_thread(lambda seed=seed: use(seed)) for seed in range(8)]
    assert [user() for user in users] == [None] * 8
    gc.collect()
    assert held(llm) == NOTHING_HELD


class Small(ReferenceBackend):
    """A device on which K and V of one layer take at most 40 pages."""

    def kv(self, pages, *sizes):
        if pages > 40:
            raise OutOfMemoryError(f"{pages} pages")
        return super().kv(pages, *sizes)


def test_a_small_device_gets_fewer_pages(path):
    with LLM(path, device=Small(), context=128) as llm:
        assert 2 <= len(llm._engine.cache.free_pages) <= 40
        outs = llm.generate(["a"] * 50, params(max_tokens=100))
        assert len({tuple(out.token_ids) for out in outs}) == 1 and held(llm) == NOTHING_HELD
    with pytest.raises(OutOfMemoryError):
        LLM(path, device=Small(), context=41 * 64)


def test_infinite_logits_end_the_request(tmp_path):
    bias = tensors()["token_embd.weight"][:, 0] * 0
    bias[7] = float("inf")
    weights = {"output.weight": tensors()["token_embd.weight"], "output.bias": bias}
    with (
        LLM(write_tiny(tmp_path / "inf.gguf", weights=weights), device="reference") as llm,
        pytest.raises(WgpuInferError, match="not finite"),
    ):
        llm.generate("abc", params())
