"""Tuned variants: what a choice is made for, how it is kept, and that nothing else changes with it."""

from __future__ import annotations

import json

import pytest
from tiny_model import write_tiny

from wgpu_infer.backends.webgpu import tuning, variants
from wgpu_infer.backends.webgpu.backend import WebGPUBackend
from wgpu_infer.backends.webgpu.caps import Caps
from wgpu_infer.contracts.cases import random_weight
from wgpu_infer.contracts.table import OPS
from wgpu_infer.errors import ParameterError
from wgpu_infer.llm import LLM
from wgpu_infer.sampling.params import SamplingParams

SIZES = {"tokens": 1, "rows": 64, "cols": 256, "row0": 0, "stride": 64}
GREEDY = SamplingParams(max_tokens=6, temperature=0.0, ignore_eos=True)


def two_widths(_fmt, params, _caps):
    """Two candidates that sum alike for any number of tokens."""
    tokens = variants.power_of_two(params["tokens"], 8)
    widths = ({"WG": width, "LANES": width, "TOKENS": tokens} for width in (32, 64))
    return [("matvec", width | variants.columns(params)) for width in widths]


@pytest.fixture
def choices(tmp_path, monkeypatch):
    monkeypatch.setenv("WGPU_INFER_CACHE", str(tmp_path))
    monkeypatch.setitem(variants.SPECIAL, "matvec", two_widths)

    class Device:
        class info:
            summary = staticmethod(lambda: "a GPU")

        caps = Caps()

    return lambda: tuning.Choices(Device)


def widths(choice):
    return dict(choice.constants)["WG"], dict(choice.constants)["TOKENS"]


def test_a_choice_is_kept_and_holds_for_any_number_of_tokens(choices):
    op, made = OPS["matvec"], choices()
    assert widths(made.pick(op, "Q4_0", SIZES, Caps())) == (32, 1), "the default comes first"
    key = tuning.key_of(op, "Q4_0", SIZES)
    made.keep({key: variants.candidates(op, "Q4_0", SIZES, Caps())[1]})
    for again in (made, choices()):
        assert widths(again.pick(op, "Q4_0", SIZES, Caps())) == (64, 1)
        assert widths(again.pick(op, "Q4_0", SIZES | {"tokens": 5, "row0": 7, "stride": 99}, Caps())) == (64, 8)
        assert widths(again.pick(op, "Q4_1", SIZES, Caps())) == (32, 1)
        assert widths(again.pick(op, "Q4_0", SIZES | {"rows": 65}, Caps())) == (32, 1)


def test_tokens_are_no_part_of_a_key():
    norm = {"rows": 1, "dim": 64, "eps": 1e-5}
    assert tuning.key_of(OPS["rms_norm"], None, norm) == tuning.key_of(OPS["rms_norm"], None, norm | {"rows": 9})
    assert "rows=64 cols=256" in tuning.key_of(OPS["matvec"], "Q4_0", SIZES)
    long, short = (tuning.key_of(OPS["matmul"], "Q4_0", SIZES | {"tokens": tokens}) for tokens in (33, 32))
    assert short == f"{long} short"


@pytest.mark.parametrize("damage", ["", "[]", "{", '{"x": 1}'])
def test_damage_costs_the_choices_only(choices, tmp_path, damage):
    op, key = OPS["matvec"], tuning.key_of(OPS["matvec"], "Q4_0", SIZES)
    choices().keep({key: variants.candidates(op, "Q4_0", SIZES, Caps())[1]})
    file = tmp_path / tuning.FILE
    device = next(iter(json.loads(file.read_text())))
    for text in (damage, json.dumps({device: {key: "a variant that is gone"}}), json.dumps({device: {key: 7}})):
        file.write_text(text)
        assert widths(choices().pick(op, "Q4_0", SIZES, Caps())) == (32, 1)
    file.write_text(json.dumps({device: 5}))
    assert widths(choices().pick(op, "Q4_0", SIZES, Caps())) == (32, 1)


@pytest.mark.webgpu
def test_of_a_product_that_is_too_much_for_a_submission_the_first_rows_are_measured(webgpu, tmp_path, monkeypatch):
    monkeypatch.setenv("WGPU_INFER_CACHE", str(tmp_path))
    measured = []
    monkeypatch.setattr(tuning, "stopwatch", lambda _runtime: lambda dispatches: measured.extend(dispatches) or 1.0)
    with WebGPUBackend(lowered={"kind": "discrete"}) as backend:
        sizes = {"tokens": 40, "rows": 600, "cols": 64, "row0": 0, "stride": 600}
        x, out = backend.empty((40, 64)), backend.empty((40, 600))
        w, op = backend.weight(random_weight("Q8_0", 600, 64, 1)), OPS["matmul"]
        program = backend.program(lambda: backend.run(op, x, w, out, **sizes))
        for rate, rows in ((1e12, 600), (1.0, 256)):
            backend.runtime.pace.rates["matmul"] = rate
            [tuned] = backend.tune([program], 9.0, again=True)
            assert "rows=600" in tuned.what and tuned.candidates == len({d.pipeline for d in measured}) > 1
            assert {d.params["rows"] for d in measured} == {rows}
            assert all(backend.runtime.pace.parts(d) == [d] for d in measured), "parts would run the default"
            measured.clear()


def test_the_default_stays_unless_another_is_clearly_faster():
    found = variants.candidates(OPS["matvec"], "Q4_0", SIZES, Caps()) * 3
    assert tuning.fastest(found, [1.0, 0.98, 2.0]) is found[0]
    assert tuning.fastest(found, [1.0, 0.98, 0.5]) is found[2]


def test_the_budget(monkeypatch):
    monkeypatch.delenv("WGPU_INFER_TUNE", raising=False)
    assert tuning.budget(is_software=True) == 0 and tuning.budget(is_software=False) > 0
    monkeypatch.setenv("WGPU_INFER_TUNE", "0")
    assert tuning.budget(is_software=False) == 0
    monkeypatch.setenv("WGPU_INFER_TUNE", "long")
    with pytest.raises(ParameterError, match="WGPU_INFER_TUNE"):
        tuning.budget(is_software=False)


@pytest.mark.webgpu
@pytest.mark.parametrize("clock", ["gpu", "wall"])
def test_a_model_is_tuned_and_says_the_same(tmp_path, monkeypatch, open_once, clock):
    open_once("webgpu")
    monkeypatch.setenv("WGPU_INFER_CACHE", str(tmp_path))
    monkeypatch.setitem(variants.SPECIAL, "matvec", two_widths)
    monkeypatch.setenv("WGPU_INFER_NO_PACKED_DOT", "1")
    monkeypatch.setattr(tuning, "GAIN", 1e9)  # any other variant wins
    path = write_tiny(tmp_path / "tiny.gguf")
    with LLM(path, device="webgpu") as llm:
        if clock == "wall":
            monkeypatch.setattr(llm._engine.backend.device, "features", ())
        before = llm.generate([1, 2, 3], GREEDY).token_ids
        found = llm.tune()
        products = [t for t in found if t.what.startswith("matvec ")]
        assert products and all(t.candidates == 2 and "WG=" in t.variant for t in products)
        assert all(t.default_s > 0 and t.chosen_s > 0 for t in found)
        assert llm.generate([1, 2, 3], GREEDY).token_ids == before
        program = llm._worker.call(lambda: llm._engine.backend.choices.known)
        assert set(program) == {t.what for t in found}
    with LLM(path, device="webgpu") as llm:
        assert set(llm._engine.backend.choices.known) == set(program), "kept for the next time"


@pytest.mark.webgpu
def test_loading_tells_of_kernels_compiled_and_measured(tmp_path, monkeypatch, open_once):
    open_once("webgpu")
    monkeypatch.setenv("WGPU_INFER_CACHE", str(tmp_path))
    monkeypatch.setenv("WGPU_INFER_NO_PACKED_DOT", "1")
    monkeypatch.setitem(variants.SPECIAL, "matvec", two_widths)
    path = write_tiny(tmp_path / "tiny.gguf")
    for seconds, expected in (("20", True), ("", False)):
        monkeypatch.setenv("WGPU_INFER_TUNE", seconds)
        compiled, tuned = [], []
        with LLM(
            path,
            device="webgpu",
            compiling=lambda *seen, to=compiled: to.append(seen),
            tuning=lambda *seen, to=tuned: to.append(seen),
        ) as llm:
            first = next(i for i, (done, total) in enumerate(compiled) if done == total)
            assert compiled[: first + 1] == [(i + 1, first + 1) for i in range(first + 1)] and first > 5
            assert len(llm._worker.call(lambda: llm._engine.backend.runtime.pipelines)) >= len(compiled)
            chosen = llm._worker.call(lambda: llm._engine.backend.choices.known)
            assert tuned == ([(i + 1, len(chosen)) for i in range(len(chosen))] if expected else [])
            before = len(compiled)
            llm.generate([1, 2, 3], GREEDY)
            again = len(compiled)
            llm.generate([1, 2, 3], GREEDY)
            assert len(compiled) == again >= before, "nothing is compiled twice"


@pytest.mark.webgpu
def test_what_the_budget_leaves_out_keeps_its_default(tmp_path, monkeypatch, open_once):
    open_once("webgpu")
    monkeypatch.setenv("WGPU_INFER_CACHE", str(tmp_path))
    monkeypatch.setenv("WGPU_INFER_NO_PACKED_DOT", "1")
    monkeypatch.setenv("WGPU_INFER_TUNE", "1e-9")
    monkeypatch.setitem(variants.SPECIAL, "matvec", two_widths)
    with LLM(write_tiny(tmp_path / "tiny.gguf"), device="webgpu") as llm:
        known = llm._engine.backend.choices.known
        products = {what: choice for what, choice in known.items() if what.startswith("matvec ")}
        assert products and all("WG=32" in choice for choice in products.values())
