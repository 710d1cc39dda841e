"""The library door: batching, seeds, stop strings, limits, threads, Ctrl-C, closing; on a tiny random model."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from tiny_model import VOCAB, tensors, write_tiny

from wgpu_infer.errors import ContextLengthError, DeviceError, ModelFormatError, ParameterError, WgpuInferError
from wgpu_infer.llm import LLM
from wgpu_infer.sampling.params import SamplingParams

PROMPTS = ["abc", "a", "hello", "the end of a longer prompt that has many tokens", "", "zz"]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("llm") / "tiny.gguf")


@pytest.fixture(scope="module", params=["reference", "cpu", pytest.param("webgpu", marks=pytest.mark.webgpu)])
def llm(request, path, open_once):
    open_once(request.param)
    with LLM(path, device=request.param) as model:
        yield model


def params(**changes):
    return SamplingParams(**{"max_tokens": 12, "seed": 5, "ignore_eos": True, **changes})


def test_a_batch_gives_what_each_gives_alone(llm):
    together = llm.generate(PROMPTS, params())
    assert [out.token_ids for out in together] == [llm.generate(p, params()).token_ids for p in PROMPTS]
    assert len({tuple(out.token_ids) for out in together}) > 1


def test_more_sequences_than_run_at_once(llm):
    outs = llm.generate(["ab"] * 50, params(max_tokens=3))
    assert len({tuple(out.token_ids) for out in outs}) == 1 and len(outs) == 50


def test_the_same_seed_gives_the_same_text_and_another_another(llm):
    first = llm.generate("abc", params())
    assert first.token_ids == llm.generate("abc", params()).token_ids
    assert first.seed == 5
    others = [llm.generate("abc", params(seed=s)).token_ids for s in range(6, 12)]
    assert any(ids != first.token_ids for ids in others)


def test_a_drawn_seed_is_reported_and_repeats(llm):
    out = llm.generate("abc", params(seed=None))
    assert llm.generate("abc", params(seed=out.seed)).token_ids == out.token_ids


def test_text_is_the_decoded_ids(llm):
    out = llm.generate("abc", params(temperature=0.0))
    assert out.text == llm.tokenizer.decode(out.token_ids, continuing=True)
    assert out.timings.prompt_tokens == len(llm.tokenizer.encode("abc"))
    assert out.timings.decode_tokens == 12 and out.timings.first_token_s > 0
    assert out.finish_reason == "length"


def test_a_stream_adds_up(llm):
    stream = llm.stream("abc", params())
    pieces = list(stream)
    assert "".join(p.text for p in pieces) == stream.result.text == llm.generate("abc", params()).text
    assert [p.token_id for p in pieces] == stream.result.token_ids
    assert pieces[-1].finish_reason == "length"


def test_stop_strings_cut_the_text(llm):
    whole = llm.generate("abc", params(temperature=0.0)).text
    stop = whole[4:6]
    out = llm.generate("abc", params(temperature=0.0, stop=[stop]))
    assert out.text == whole[: whole.index(stop)] and out.finish_reason == "stop"
    stream = llm.stream("abc", params(temperature=0.0, stop=[stop]))
    assert "".join(p.text for p in stream) == out.text


def test_a_full_context_ends_with_length(path):
    with LLM(path, device="reference", context=20) as llm:
        out = llm.generate("abc", SamplingParams(ignore_eos=True, seed=1))
        assert out.finish_reason == "length"
        assert out.timings.prompt_tokens + len(out.token_ids) == 20
        full = llm.generate([3] * 20, SamplingParams(seed=1))
        assert (full.finish_reason, full.token_ids) == ("length", [])
        with pytest.raises(ContextLengthError) as caught:
            llm.generate([3] * 21)
        assert (caught.value.prompt_tokens, caught.value.context) == (21, 20)
        with pytest.raises(ContextLengthError):
            llm.logits([3] * 21)


def test_max_tokens_zero_reads_the_prompt_only(llm):
    out = llm.generate("abc", params(max_tokens=0))
    assert (out.text, out.token_ids, out.finish_reason) == ("", [], "length")


def test_logits_are_those_of_decoding(llm):
    picked = llm.generate([1, 5], params(temperature=0.0)).token_ids
    forced = llm.logits([1, 5, *picked])
    assert forced[1:-1].argmax(-1).tolist() == picked


def test_logits_depend_on_what_came_before_only(llm):
    ids = [1, 5, 9, 14, 3]
    whole = llm.logits(ids)
    assert whole.shape == (5, VOCAB) and whole.dtype == np.float32
    np.testing.assert_array_equal(whole[:3], llm.logits(ids[:3]))
    long = [1, *range(3, 23), *range(3, 23), *range(3, 12)]  # more than one chunk of outputs
    np.testing.assert_array_equal(llm.logits(long)[:5], llm.logits(long[:5]))


def test_threads_share_one_model(llm):
    want = {p: llm.generate(p, params()).token_ids for p in PROMPTS}
    got: dict[str, list[int]] = {}
    threads = [
        threading.Thread(target=lambda p=p: got.update({p: llm.generate(p, params()).token_ids})) for p in PROMPTS
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert got == want


def test_leaving_a_stream_frees_its_pages(llm):
    free = len(llm._engine.cache.free_pages)
    for _ in range(3):
        stream = llm.stream("abc", params(max_tokens=40))
        next(stream)
        stream.close()
        assert list(stream) == []
    assert llm.generate("abc", params()).finish_reason == "length"
    assert len(llm._engine.cache.free_pages) == free


def test_an_interrupt_leaves_the_model_usable(llm, monkeypatch):
    from wgpu_infer.engine import worker

    real, calls = worker._get, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(worker, "_get", interrupted)
    with pytest.raises(KeyboardInterrupt):
        llm.generate(["abc", "b"], params(max_tokens=40))
    monkeypatch.undo()
    assert llm.generate("abc", params()).token_ids == llm.generate(["abc", "b"], params())[0].token_ids
    assert llm._engine.is_idle


BAD_PROMPTS = [5, None, {"a": 1}, [-1], [VOCAB], [1.5], [True, 2], ["ok", [2**63]], [["x"]], [[]], b"abc", [None]]
BAD_PROMPTS += [[1, "a"], ["a", 5], ["a", None], ["a", {1: 2}], np.ones((1, 2), int), np.array(5), {1, 2}]


@pytest.mark.parametrize("prompt", BAD_PROMPTS, ids=str)
def test_bad_prompts(llm, prompt):
    with pytest.raises(ParameterError):
        llm.generate(prompt, params())
    assert llm.generate("abc", params(max_tokens=1)).finish_reason == "length"


def test_numpy_numbers_are_numbers(llm):
    want = llm.generate([1, 2], params()).token_ids
    for prompt in ((1, 2), np.array([1, 2]), [np.uint32(1), np.int64(2)]):
        assert llm.generate(prompt, params()).token_ids == want
    changed = params(
        max_tokens=np.int64(12), seed=np.uint64(5), temperature=np.float32(0.8), logit_bias={np.int64(3): 0}
    )
    assert llm.generate([1, 2], changed).token_ids == want
    np.testing.assert_array_equal(llm.logits(np.array([1, 2])), llm.logits([1, 2]))


@pytest.mark.parametrize("ids", [5, None, "abc", [], [[1]], iter([1])], ids=lambda v: str(v).split(" object")[0])
def test_bad_ids_for_logits(llm, ids):
    with pytest.raises(ParameterError):
        llm.logits(ids)


def test_params_must_be_sampling_params(llm):
    with pytest.raises(ParameterError, match="SamplingParams"):
        llm.generate("abc", {"max_tokens": 3})


def test_no_prompts_no_answers(llm):
    assert llm.generate([], params()) == []


def test_logit_bias_out_of_the_vocabulary(llm):
    with pytest.raises(ParameterError, match="logit_bias"):
        llm.generate("abc", params(logit_bias={VOCAB: 1.0}))
    picked = llm.generate("abc", params(logit_bias={7: 100.0}))
    assert set(picked.token_ids) == {7}


@pytest.mark.parametrize("context", [0, -1, 1.5, "9", True, 2**40])
def test_bad_context(path, context):
    with pytest.raises(ParameterError, match="context"):
        LLM(path, device="reference", context=context)


def test_bad_options(path):
    for device in ("tpu", "", None, 5):
        with pytest.raises(ParameterError, match="device"):
            LLM(path, device=device)
    for threads in (0, -1, 1.5, "2", True):
        with pytest.raises(ParameterError, match="threads"):
            LLM(path, device="reference", threads=threads)
    with pytest.raises(ParameterError, match="kv="):
        LLM(path, device="reference", kv="f64")
    with pytest.raises(ParameterError, match="q8_0"):
        LLM(path, device="reference", kv="q8_0")  # heads of 8


@pytest.mark.parametrize("adapter, device", [("", "auto"), (-1, "auto"), (True, "webgpu"), ("0", "cpu"), (0.5, "auto")])
def test_bad_adapters(path, adapter, device):
    with pytest.raises(ParameterError, match="adapter="):
        LLM(path, device=device, adapter=adapter)


@pytest.mark.webgpu
def test_an_adapter_by_number_and_by_name(path, open_once):
    name = open_once("webgpu").device.info.name
    for adapter in (0, name[1:8]):
        with LLM(path, device="webgpu", adapter=adapter) as llm:
            assert name in llm.device
    with pytest.raises(DeviceError, match="no WebGPU adapter is called '77'; there are: 0: "):
        LLM(path, device="webgpu", adapter=77)


def test_closing_ends_what_runs_and_refuses_more(path):
    llm = LLM(path, device="reference")
    stream = llm.stream("abc", params(max_tokens=50))
    llm.close()
    with pytest.raises(WgpuInferError, match="closed"):
        list(stream)
    with pytest.raises(WgpuInferError, match="closed"):
        llm.generate("abc")
    llm.close()


def test_nan_logits_end_that_request_with_an_error(tmp_path):
    broken = tensors()["token_embd.weight"]
    broken[5] = np.nan
    with LLM(write_tiny(tmp_path / "nan.gguf", weights={"token_embd.weight": broken}), device="reference") as llm:
        with pytest.raises(WgpuInferError, match="NaN"):
            llm.generate([1, 2], params())
        with pytest.raises(ModelFormatError):
            LLM(tmp_path / "nan.gguf", device="reference", check_tensors=True)


def test_verify_agrees_and_finds_a_wrong_op(path, monkeypatch):
    with LLM(path, device="cpu") as llm:
        report = llm.verify(steps=4)
        assert report.agrees and report.steps == 5 and report.ops_checked > 100
        assert "all agree" in str(report)
        backend = llm._engine.backend
        real = backend.run

        def wrong(op, *operands, **values):
            real(op, *operands, **values)
            if op.name == "glu":
                size = (values["tokens"] * values["cols"],)
                backend.write(operands[1], backend.read(operands[1], size) * np.float32(1.001))

        monkeypatch.setattr(backend, "run", wrong)
        report = llm.verify(steps=4)
    assert not report.agrees and report.disagreement.op == "glu" and "glu" in str(report)
    with pytest.raises(WgpuInferError):
        llm.verify()


@pytest.mark.parametrize("bad", [{"steps": 0}, {"steps": True}, {"witness": "auto"}, {"witness": 5}, {"prompt": ["a"]}])
def test_verify_says_what_it_takes(path, bad):
    with LLM(path, device="reference") as llm, pytest.raises(ParameterError):
        llm.verify(**{"steps": 1, **bad})


def test_an_empty_prompt_is_bos_alone(tmp_path):
    silent = write_tiny(tmp_path / "silent.gguf", {"tokenizer.ggml.add_bos_token": False})
    with LLM(silent, device="reference") as llm:
        assert llm.tokenizer.encode("") == []
        assert llm.generate("", params()).token_ids == llm.generate([1], params()).token_ids
        assert llm.verify(steps=1).agrees


def test_text_goes_on_from_the_prompts_text(tmp_path):
    tokens = ["<unk>", "<s>", "</s>", *(chr(ord("a") + i) for i in range(VOCAB - 4)), "▁up"]
    path = write_tiny(tmp_path / "words.gguf", {"tokenizer.ggml.tokens": tokens})
    always_up = params(max_tokens=2, logit_bias={VOCAB - 1: 100.0})
    with LLM(path, device="reference") as llm:
        assert llm.generate("abc", always_up).text == " up up"
        assert llm.generate("", always_up).text == "up up"
        stream = llm.stream("abc", always_up)
        assert "".join(piece.text for piece in stream) == " up up"


def test_auto_names_its_device_and_those_it_passed_over(path):
    with LLM(path) as llm:
        assert llm.device.startswith(("cpu", "webgpu"))
        assert set(llm.passed_over) == {"cpu", "webgpu"} - {llm.device.split(":")[0]} and all(llm.passed_over.values())
        assert llm.generate("abc", params(max_tokens=2)).finish_reason == "length"
