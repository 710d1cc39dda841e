"""Decoding ahead of what is read: the same tokens at any depth, alone or in company, whatever ends a text."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from conftest import patience
from tiny_model import tensors, write_tiny

from wgpu_infer.backends.reference import ReferenceBackend
from wgpu_infer.backends.webgpu.backend import WebGPUBackend
from wgpu_infer.contracts.contract import PAGE_SLOTS
from wgpu_infer.contracts.picks import HISTORY, NO_TOKEN
from wgpu_infer.engine.engine import choose_depth, pick
from wgpu_infer.engine.run_ahead import MOST_AHEAD, USUAL_AHEAD, burst, history_of, picks_from
from wgpu_infer.engine.sequence import Sequence
from wgpu_infer.errors import ParameterError, WgpuInferError
from wgpu_infer.llm import LLM
from wgpu_infer.models import transformer
from wgpu_infer.sampling.params import SamplingParams

PROMPTS = ["abc", "a", "hello", "the end of a longer prompt that has many tokens", "", "zz", "qrs", "lmno"]
BACKENDS = ["reference", pytest.param("webgpu", marks=pytest.mark.webgpu)]
DEPTHS = [1, 4, 16]


class AheadReference(ReferenceBackend):
    """The reference backend as one that picks tokens itself, so that the engine's part is tested without a GPU."""

    can_run_ahead = True


def params(**changes):
    return SamplingParams(**{"max_tokens": 30, "seed": 5, "ignore_eos": True, **changes})


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("ahead") / "tiny.gguf")


@pytest.fixture(scope="module", params=BACKENDS)
def llms(request, path, open_once):
    """By depth: 0 picks on the CPU."""
    open_once(request.param)
    made = {}
    for depth in (0, *DEPTHS):
        device = AheadReference() if request.param == "reference" else "webgpu"
        made[depth] = LLM(path, device=device, run_ahead=depth)
        assert made[depth]._engine.run_ahead == depth
    yield made
    for llm in made.values():
        llm.close()


SETTINGS = [
    {"temperature": 0.0},
    {"temperature": 0.0, "repeat_penalty": 1.3, "frequency_penalty": 0.2},
    {},
    {"temperature": 2.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "seed": 2**63 + 11, "max_tokens": 90},
    {"presence_penalty": 1.5, "logit_bias": {3: 2.0, 9: -4.0}},
]


@pytest.mark.parametrize("changes", SETTINGS, ids=lambda c: "-".join(c) or "defaults")
def test_every_depth_picks_the_same(llms, changes):
    """Margins of these seeds are wide, so the CPU's picks are the same too."""
    want = [llms[0].generate(prompt, params(**changes)) for prompt in PROMPTS[:3]]
    for depth in DEPTHS:
        got = [llms[depth].generate(prompt, params(**changes)) for prompt in PROMPTS[:3]]
        assert [out.token_ids for out in got] == [out.token_ids for out in want], depth
        assert [out.text for out in got] == [out.text for out in want]


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_batch_of_eight_gives_what_each_gives_alone(llms, depth):
    llm = llms[depth]
    for changes in ({}, {"repeat_penalty": 1.2}):
        together = llm.generate(PROMPTS, params(**changes))
        assert [o.token_ids for o in together] == [llm.generate(p, params(**changes)).token_ids for p in PROMPTS]


@pytest.mark.parametrize("depth", [0, 4])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_long_sequence_takes_turns_with_others_where_room_is_scarce(path, open_once, monkeypatch, backend, depth):
    """Attention by ranges takes room for the longest sequence for every token of a step."""
    open_once(backend)
    device = AheadReference() if backend == "reference" else "webgpu"
    with LLM(path, device=device, run_ahead=depth, context=512) as llm:
        engine, batches = llm._engine, []
        run_pass = engine.model.program

        def program(batch, cache, tail=None):
            if batch.phase == "decode":
                batches.append((batch.tokens, engine.model.splits(batch, cache[0])))
            return run_pass(batch, cache, tail)

        engine.model.program = program
        prompts = [[3 + i % 20 for i in range(length)] for length in (150, 4, 5, 6, 60, 3)]
        alone = [llm.generate(prompt, params()).token_ids for prompt in prompts]
        room = 4 * engine.model.config.q_dim * 8  # bytes: eight ranges
        monkeypatch.setattr(transformer, "MOST_FOR_RANGES", room)
        monkeypatch.setattr(transformer, "ROOM_FOR_RANGES", 0)
        batches.clear()
        together = llm.generate(prompts, params())
    assert [out.token_ids for out in together] == alone
    assert [out.finish_reason for out in together] == ["length"] * len(prompts)
    assert {(2, 4)} < set(batches) and max(tokens * splits for tokens, splits in batches) <= 8


def run_together(llm, jobs):
    """Each job a stream in a thread of its own: (prompt, params, tokens to wait for before the next starts)."""
    results, threads = {}, []
    for number, (prompt, given, wait_for) in enumerate(jobs):
        stream, started = llm.stream(prompt, given), threading.Event()

        def read(stream=stream, number=number, started=started, wait_for=wait_for):
            for count, _ in enumerate(stream, 1):
                if count >= wait_for:
                    started.set()
            started.set()
            results[number] = stream.result

        threads.append(threading.Thread(target=read))
        threads[-1].start()
        assert started.wait(60 * patience())
    for thread in threads:
        thread.join()
    return [results[i] for i in range(len(jobs))]


@pytest.mark.parametrize("depth", DEPTHS)
def test_who_joins_or_leaves_changes_nothing_for_others(llms, depth):
    llm = llms[depth]
    jobs = [
        ("abc", params(max_tokens=60, repeat_penalty=1.1), 7),
        ("hello", params(max_tokens=5), 2),
        ("zz", params(max_tokens=40, temperature=0.0), 11),
        ("qrs", params(max_tokens=33, seed=8), 1),
    ]
    got = run_together(llm, jobs)
    want = [llm.generate(prompt, given) for prompt, given, _ in jobs]
    assert [out.token_ids for out in got] == [out.token_ids for out in want]
    assert [len(out.token_ids) for out in got] == [60, 5, 40, 33]


@pytest.mark.parametrize("depth", DEPTHS)
def test_who_is_at_its_end_writes_into_nobody_s_pages(llms, depth):
    """One ends with its only page full, in the middle of a burst; behind it the block table names page 0, another's."""
    llm = llms[depth]
    short = llm.tokenizer.encode("abc")
    jobs = [
        ([1, 9, 9, 9, 5], params(max_tokens=110, temperature=1.5), 3),
        (short, params(max_tokens=64 - len(short)), 1),
    ]
    got = run_together(llm, jobs)
    assert len(short) + len(got[1].token_ids) == 64 == PAGE_SLOTS
    assert [out.token_ids for out in got] == [llm.generate(prompt, given).token_ids for prompt, given, _ in jobs]


@pytest.mark.parametrize("depth", DEPTHS)
def test_company_whose_tokens_are_picked_on_the_cpu(llms, depth, monkeypatch):
    """Two that the device cannot pick for decode beside two for whom it does; nobody notices."""
    llm, wide, narrow = llms[depth], params(top_k=0, top_p=1.0, min_p=0.0, repeat_penalty=1.1), params(top_k=5)
    jobs = [("abc", wide, 4), ("hello", narrow, 5), ("zz", wide, 1), ("q", narrow, 1)]
    want = [llm.generate(prompt, given).token_ids for prompt, given, _ in jobs]
    for module in ("engine", "run_ahead"):
        monkeypatch.setattr(f"wgpu_infer.engine.{module}.can_pick", lambda p: p != wide)
    here = []
    monkeypatch.setattr("wgpu_infer.engine.engine.pick", lambda row, s: here.append(s.params) or pick(row, s))
    assert [out.token_ids for out in run_together(llm, jobs)] == want
    assert sum(p == wide for p in here) == 60 and len(here) == 62, "first tokens come from the prompt's logits"


@pytest.mark.parametrize("depth", DEPTHS)
def test_eos_and_stop_strings_end_within_a_window(llms, depth):
    greedy = params(temperature=0.0)
    whole = llms[0].generate("abc", greedy)
    stop = whole.text[6:8]
    for llm in (llms[0], llms[depth]):
        out = llm.generate("abc", params(temperature=0.0, stop=[stop]))
        assert out.text == whole.text[: whole.text.index(stop)] and out.finish_reason == "stop"
    eos = whole.token_ids[5]
    ended = whole.token_ids[: whole.token_ids.index(eos)]
    for llm in (llms[0], llms[depth]):
        before = set(llm.tokenizer.eog_ids)
        llm.tokenizer.eog_ids = frozenset({eos})
        try:
            out = llm.generate("abc", params(temperature=0.0, ignore_eos=False))
        finally:
            llm.tokenizer.eog_ids = frozenset(before)
        assert (out.token_ids, out.finish_reason) == (ended, "stop")


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("tokens", [0, 1, 2, 3, 7, 16, 17])
def test_max_tokens_are_exact(llms, depth, tokens):
    outs = llms[depth].generate(["abc", "zz"], params(max_tokens=tokens))
    assert [len(out.token_ids) for out in outs] == [tokens] * 2
    assert {out.finish_reason for out in outs} == {"length"}
    assert outs[0].timings.decode_tokens == tokens


@pytest.mark.parametrize("depth", DEPTHS)
def test_streams_lag_by_no_more_than_the_depth(llms, depth):
    """Of what a step hands out, nothing is older than the steps in flight."""
    llm = llms[depth]
    sequence = Sequence(llm.tokenizer.encode("abc"), params(max_tokens=40), llm.tokenizer, llm.context)
    engine, seen = llm._engine, []

    def drive():
        engine.submit(sequence)
        while not engine.is_idle:
            pieces = engine.step()
            seen.append((len(pieces), sum(f.steps for f in engine.flights)))

    llm._worker.call(drive)
    assert sum(count for count, _ in seen) == 40 and sequence.finish_reason == "length"
    assert max(flying for _, flying in seen) <= depth - max(depth // 2, 1)
    assert max(count for count, _ in seen) <= max(depth // 2, 1)


@pytest.mark.parametrize("depth", DEPTHS)
def test_an_abort_in_a_window_frees_the_pages_and_leaves_others_alone(llms, depth):
    llm = llms[depth]
    want = llm.generate("zz", params(max_tokens=50)).token_ids
    pages = len(llm._engine.cache.free_pages)
    leaving, staying = llm.stream("abc", params(max_tokens=50)), llm.stream("zz", params(max_tokens=50))
    for _ in range(9):
        next(leaving)
    leaving.close()
    assert [p.token_id for p in staying] == want
    llm.generate("a", params(max_tokens=1))  # behind what was in flight
    assert len(llm._engine.cache.free_pages) == pages and not llm._engine.leaving
    assert llm.generate("zz", params(max_tokens=50)).token_ids == want


@pytest.mark.parametrize("depth", DEPTHS)
def test_logits_between_the_steps_of_a_window(llms, depth):
    llm = llms[depth]
    want, forced = llm.generate("abc", params(max_tokens=40)).token_ids, llm.logits([1, 5, 9])
    stream = llm.stream("abc", params(max_tokens=40))
    got = []
    for piece in stream:
        got.append(piece.token_id)
        if len(got) in (5, 6, 20):
            np.testing.assert_array_equal(llm.logits([1, 5, 9]), forced)
    assert got == want


def test_pages_return_only_when_nothing_in_flight_writes_to_them(path):
    """A sequence that ends while steps are in flight keeps its pages until those are taken."""
    with LLM(path, device=AheadReference(), run_ahead=4) as llm:
        engine = llm._engine
        free = len(engine.cache.free_pages)
        one = Sequence([1, 5], params(max_tokens=50), llm.tokenizer, llm.context)

        def drive():
            engine.submit(one)
            while len(one.token_ids) < 5:
                engine.step()
            engine.abort(one)
            held = len(engine.flights), len(engine.cache.free_pages)
            while not engine.is_idle:
                assert engine.step() == []
            return held

        flying, left = llm._worker.call(drive)
        assert flying > 0 and left < free == len(engine.cache.free_pages)


def test_the_context_s_end_is_met_exactly(path):
    for depth in DEPTHS:
        with LLM(path, device=AheadReference(), context=70, run_ahead=depth) as llm:
            outs = llm.generate(["abc", [3] * 69, [3] * 70], SamplingParams(ignore_eos=True, seed=1))
            assert {out.finish_reason for out in outs} == {"length"}
            assert [out.timings.prompt_tokens + len(out.token_ids) for out in outs] == [70] * 3


@pytest.mark.parametrize("name", BACKENDS)
def test_nan_logits_end_their_sequence_alone(tmp_path, name, open_once):
    """The row of one token is NaN: whoever comes upon it ends with an error, in the middle of a window."""
    open_once(name)
    clean = write_tiny(tmp_path / "clean.gguf")
    with LLM(clean, device="reference") as llm:
        victim = llm.generate("abc", params(temperature=0.0, max_tokens=12)).token_ids
    first = next(i for i, token in enumerate(victim) if i > 2 and token not in victim[:i])
    embedding, output = tensors()["token_embd.weight"], tensors()["token_embd.weight"].copy()
    embedding[victim[first]] = np.nan
    broken = write_tiny(tmp_path / "nan.gguf", weights={"token_embd.weight": embedding, "output.weight": output})
    device = AheadReference() if name == "reference" else "webgpu"
    with LLM(broken, device=device, run_ahead=4) as llm:
        stream = llm.stream("abc", params(temperature=0.0))
        with pytest.raises(WgpuInferError, match="NaN"):
            for _ in stream:
                pass
        assert stream.result.token_ids == victim[: first + 1]
        assert llm.generate([1], params(max_tokens=1)).finish_reason == "length"


def test_an_error_in_a_window_ends_requests_and_the_model_goes_on(path, monkeypatch):
    with LLM(path, device=AheadReference(), run_ahead=4) as llm:
        want = llm.generate("abc", params()).token_ids
        real, calls = llm._engine.model.go_on, []

        def failing(*args):
            calls.append(1)
            if len(calls) == 5:
                raise WgpuInferError("lost for a moment")
            return real(*args)

        monkeypatch.setattr(llm._engine.model, "go_on", failing)
        with pytest.raises(WgpuInferError, match="for a moment"):
            llm.generate("abc", params())
        monkeypatch.undo()
        assert not llm._engine.flights and not llm._engine.leaving
        assert llm.generate("abc", params()).token_ids == want


def test_the_depth_follows_the_device():
    backend = AheadReference()
    assert choose_depth(ReferenceBackend(), 16) == 0, "a backend that does not pick takes no notice"
    assert (choose_depth(backend, None), choose_depth(backend, 7)) == (USUAL_AHEAD, 7)
    backend.is_software = True
    assert (choose_depth(backend, None), choose_depth(backend, 0), choose_depth(backend, 2)) == (0, 0, 2)


def test_bursts_fill_the_depth():
    assert [burst(depth, 0, 99) for depth in (1, 2, 3, 4, 16)] == [1, 1, 1, 2, 8]
    assert [burst(4, flying, 99) for flying in range(5)] == [2, 2, 2, 0, 0]
    assert (burst(1, 1, 9), burst(16, 0, 3), burst(16, 0, 0), burst(16, 12, -2)) == (0, 3, 0, 0)


def test_the_history_is_a_ring():
    for length in (1, 63, 64, 65, 200):
        row = history_of(list(range(length)))
        assert all(row[p % HISTORY] == p for p in range(max(0, length - HISTORY), length))
    rows = np.arange(2 * HISTORY, dtype=np.uint32).reshape(2, HISTORY)
    rows[0, 1] = NO_TOKEN
    assert picks_from(rows, [63, 5], 3) == [[63, 69], [0, 70], [None, 71]]


@pytest.mark.parametrize("depth", [-1, MOST_AHEAD + 1, 1.5, "4", True])
def test_bad_depths(path, depth):
    with pytest.raises(ParameterError, match="run_ahead"):
        LLM(path, device="reference", run_ahead=depth)


@pytest.fixture(scope="module")
def default_models(open_once):
    """The model inside the package on the GPU, by depth."""
    open_once("webgpu")
    made = {depth: LLM(device="webgpu", run_ahead=depth) for depth in (0, *DEPTHS)}
    yield made
    for llm in made.values():
        llm.close()


@pytest.mark.webgpu
@pytest.mark.parametrize("changes", [{"temperature": 0.0}, {}, {"repeat_penalty": 1.2, "top_k": 300}], ids=str)
def test_the_default_model_says_the_same_at_every_depth(default_models, changes):
    given = params(max_tokens=40, ignore_eos=False, **changes)
    said = {depth: llm.generate("The little", given) for depth, llm in default_models.items()}
    assert len(said[1].token_ids) > 20
    for depth in DEPTHS:
        assert (said[depth].token_ids, said[depth].text) == (said[0].token_ids, said[0].text), depth


@pytest.mark.webgpu
def test_decoding_makes_no_buffers(default_models, monkeypatch):
    llm = default_models[4]
    llm.generate("One day", params())
    made = []
    handle = llm._engine.backend.device.handle
    real = type(handle).create_buffer
    monkeypatch.setattr(type(handle), "create_buffer", lambda self, **given: made.append(given) or real(self, **given))
    assert len(llm.generate("One day", params(max_tokens=60)).token_ids) == 60
    assert not [given for given in made if given["size"] > 4], "4 bytes only ask whether the device is alive"


@pytest.mark.webgpu
def test_all_candidates_and_many_biases_are_picked_from_on_the_device(default_models, monkeypatch):
    """More candidates than can be sorted, beside a row that keeps few; and biases for half of the vocabulary."""
    biases = dict.fromkeys(range(1000), 0.5)
    given = [
        params(top_k=0),
        params(top_k=1500, temperature=1.5, min_p=0.0, seed=9),
        params(logit_bias=biases),
        params(),
    ]
    want = [default_models[0].generate("One day", p).token_ids for p in given]
    here = []
    monkeypatch.setattr("wgpu_infer.engine.engine.pick", lambda row, s: here.append(s.params) or pick(row, s))
    for depth in DEPTHS:
        here.clear()
        jobs = [("One day", p, 1) for p in given]
        assert [out.token_ids for out in run_together(default_models[depth], jobs)] == want, depth
        assert len(here) == len(jobs), "first tokens come from the prompt's logits, all others from the device"


@pytest.mark.webgpu
def test_profiled_and_eager_steps_pick_the_same(default_models):
    llm, given = default_models[4], params(repeat_penalty=1.1)
    want = llm.generate("One day", given).token_ids
    with llm.profile() as profile:
        assert llm.generate("One day", given).token_ids == want
    assert {"penalise", "peaks", "sample", "rope_kv_write"} <= {row.op for row in profile.rows}
    assert llm.generate("One day", given).token_ids == want
    with LLM(device=WebGPUBackend(eager=True), run_ahead=4) as eager:
        assert eager.generate("One day", given).token_ids == want


@pytest.mark.webgpu
def test_a_story_ends_at_its_context(shared, open_once):
    open_once("webgpu")
    path = shared("models", "stories260K-Q8_0.gguf")
    with LLM(path, device="webgpu", run_ahead=16) as llm:
        out = llm.generate("Once", params(max_tokens=2000, temperature=0.0))
        assert out.finish_reason == "length"
        assert out.timings.prompt_tokens + len(out.token_ids) == llm.context
        assert len(llm._engine.cache.free_slots) == 32 and not llm._engine.flights
    with LLM(path, device="webgpu", run_ahead=0) as llm:
        assert llm.generate("Once", params(max_tokens=70, temperature=0.0)).token_ids == out.token_ids[:70]
