"""Tokenizers under bad input (T01-T12 of the fault list): text, ids and vocabularies end well or in typed errors."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest
from conftest import patience, slowness
from tokenizer_oracle import SPM_START, byte_level_vocabulary, metadata, random_text, small_byte_level, spm
from tracing import paused

from wgpu_infer.errors import ModelFormatError, TokenizerError, UnsupportedError
from wgpu_infer.tokenizer.pretokenizers import FAMILIES, PRE_TOKENIZERS
from wgpu_infer.tokenizer.tokenizer import Tokenizer

MIB = 1 << 20


@pytest.fixture(scope="module")
def trained():
    return byte_level_vocabulary()


@pytest.fixture
def tiny():
    return Tokenizer.from_metadata(small_byte_level())


@pytest.mark.parametrize(
    "text", ["a\0b", "\ufffe", "e" + "\u0301" * 10_000, "e\u0301é", "\u202eabc\u202c", "👩‍👩‍👧‍👦" * 50, "\r\n\t\v"]
)
def test_odd_text_survives(tiny, text):  # T03
    assert tiny.decode(tiny.encode(text)) == text
    byte_tokenizer = Tokenizer.from_metadata(spm(["▁"]))
    assert byte_tokenizer.decode(byte_tokenizer.encode(text)) == text


@pytest.mark.parametrize("text", ["\ud800", "ab\udfffc", b"bytes", None, 7])
def test_what_is_no_text_is_refused(tiny, text):  # T03
    with pytest.raises(TokenizerError):
        tiny.encode(text)


@pytest.mark.parametrize("token", [-1, 2**31, 2**63, 1.5, True, "3", None, np.float32(1)])
def test_ids_that_do_not_exist_are_refused(tiny, token):  # T06, T07
    for use in (lambda t: tiny.decode([0, t]), tiny.token_bytes, tiny.name_of, tiny.is_control):
        with pytest.raises(TokenizerError, match="there is no token"):
            use(token)
    with pytest.raises(TokenizerError, match=str(tiny.vocab_size)):
        tiny.decode([tiny.vocab_size])
    assert tiny.decode(np.array([0, 1], np.uint32)) == tiny.decode([0, 1])


LONG = {"a": "a" * MIB, "^": "^" * MIB, " ": " " * MIB, "emoji": "👩‍👩‍👧‍👦" * 25_000}


@pytest.mark.parametrize("text", LONG)
@pytest.mark.parametrize("kind", ["spm", "bpe", "wordpiece"])
def test_a_mebibyte_of_one_thing_takes_linear_time(trained, kind, text):  # T02
    tokens, merges = trained
    runs = [char * size for char in "a^▁" for size in (1, 2, 4, 8, 16)]
    made = {
        "spm": lambda: spm(runs, [-float(i) for i in range(len(runs))]),
        "bpe": lambda: metadata("gpt2", tokens, merges=merges, pre="llama-bpe", bos_token_id=0),
        "wordpiece": lambda: metadata("bert", ["[UNK]", "▁a", "aa", "▁^"], unknown_token_id=0),
    }
    tokenizer = Tokenizer.from_metadata(made[kind]())
    start = time.process_time()
    ids = paused(tokenizer.encode)(LONG[text], add_special=False)
    spent = time.process_time() - start
    assert spent < 4.0 * slowness(), f"{spent:.2f} s"  # 2 s with a core of one's own; quadratic would be minutes
    if kind != "wordpiece":
        assert paused(tokenizer.decode)(ids) == LONG[text]


@pytest.mark.parametrize("family", FAMILIES)
def test_no_pattern_is_quadratic(family):  # T10: patterns come from the table only, and each is linear
    from wgpu_infer.tokenizer.bpe import pre_tokenizer

    pre = next(pre for pre in PRE_TOKENIZERS.values() if pre.family == family)
    steps = pre_tokenizer(pre)
    for text in ["a", "A", "^", " ", "\n", " \n", "1", "的", "e\u0301", "'", "a "]:
        start = time.process_time()
        steps.pre_tokenize_str(text * (100_000 // len(text)))
        assert time.process_time() - start < 1.5 * patience(), repr(text)  # quadratic would be minutes


def faults() -> dict[str, dict]:
    two = ["a", "b", "ab"]
    bpe = {"merges": ["a b"], "pre": "gpt-2", "bos_token_id": 0}
    return {
        "no model": {"tokenizer.ggml.tokens": two},
        "model is a number": metadata(3, two),
        "no tokens": {"tokenizer.ggml.model": "llama"},
        "tokens empty": metadata("llama", []),
        "tokens a string": metadata("llama", "abc"),
        "token not a string": metadata("llama", ["a", 1]),
        "empty token": metadata("llama", ["a", ""]),
        "token twice": metadata("llama", ["a", "b", "a"]),
        "long token": metadata("llama", ["a", "b" * 70_000]),
        "scores short": metadata("llama", two, scores=[0.0, 1.0]),  # G42
        "scores long": metadata("llama", two, scores=[0.0] * 4),
        "scores nan": metadata("llama", two, scores=[0.0, float("nan"), 0.0]),
        "scores text": metadata("llama", two, scores=["x"] * 3),
        "types short": metadata("llama", two, token_type=[1, 1]),
        "byte misspelt": metadata("llama", two, token_type=[1, 6, 1]),
        "no merges": metadata("gpt2", two, pre="gpt-2", bos_token_id=0),
        "merge of nothing": metadata("gpt2", two, **bpe | {"merges": ["a b", "ab"]}),
        "merge with empty part": metadata("gpt2", two, **bpe | {"merges": ["a "]}),
        "merge of a missing token": metadata("gpt2", two, **bpe | {"merges": ["a c"]}),
        "merge into a missing token": metadata("gpt2", two, **bpe | {"merges": ["b a"]}),
        "merge twice": metadata("gpt2", two, **bpe | {"merges": ["a b", "a b"]}),
        "surrogate in a token": metadata("gpt2", [*two, "\ud800"], **bpe),
        "bos wanted, none named": metadata("gpt2", two, merges=["a b"], pre="gpt-2", add_bos_token=True),
        "bos is text": metadata("llama", two, bos_token_id="a"),
        "flag is a number": metadata("llama", two, add_bos_token=1),
        "unigram without unknown": metadata("t5", ["a", "b"]),
        "character map damaged": metadata("t5", ["a", "b", "<unk>"], precompiled_charsmap=[1, 2, 3]),
        "template not a string": metadata("llama", SPM_START, tokenizer__chat_template=5),
    }


@pytest.mark.parametrize("name", faults())
def test_bad_vocabularies_are_format_errors(name):  # T08, T11, G42, J10
    with pytest.raises(ModelFormatError, match=r"^file\.gguf: tokenizer: "):
        Tokenizer.from_metadata(faults()[name], "file.gguf")


@pytest.mark.parametrize("model", ["rwkv", "plamo2", "none", "no_vocab", "hybriddna", "new"])
def test_unknown_models_are_named(model):
    with pytest.raises(UnsupportedError, match=f"{model}.*known: .*gpt2.*llama"):
        Tokenizer.from_metadata(metadata(model, ["a"]))


def test_an_unknown_pre_tokenizer_is_an_error_not_a_guess(caplog):
    with pytest.raises(UnsupportedError, match=r"'brand-new'.*known: .*llama-bpe.*qwen2"):
        Tokenizer.from_metadata(metadata("gpt2", ["a"], merges=[], pre="brand-new"))
    Tokenizer.from_metadata(metadata("gpt2", ["a"], merges=[], bos_token_id=0))
    assert "tokenizer.ggml.pre" in caplog.text  # a missing name is what llama.cpp calls default


class PanicException(BaseException):
    """Named as the exception that a panic in Rust raises, which is no Exception either."""


def test_a_panic_of_the_library_is_a_typed_error(tiny, monkeypatch):  # T12
    def panic(*_args, **_keys):
        raise PanicException("index out of bounds")

    monkeypatch.setattr(tiny._model, "_tokenizer", type("Broken", (), {"encode": panic})())
    with pytest.raises(TokenizerError, match="index out of bounds"):
        tiny.encode("a")

    def interrupt(*_args, **_keys):
        raise KeyboardInterrupt

    monkeypatch.setattr(tiny._model, "_tokenizer", type("Stopped", (), {"encode": interrupt})())
    with pytest.raises(KeyboardInterrupt):
        tiny.encode("a")


def test_a_corrupted_vocabulary_only_ever_raises_typed_errors(trained):
    tokens, merges = trained
    good = metadata(
        "gpt2", tokens[:600], merges=[m for m in merges if "".join(m.split()) in set(tokens[:600])], pre="gpt-2"
    )
    rng = random.Random(2)
    for _ in range(60):
        bad = {key: list(value) if isinstance(value, list) else value for key, value in good.items()}
        target = bad[rng.choice(["tokenizer.ggml.tokens", "tokenizer.ggml.merges"])]
        where = rng.randrange(len(target))
        target[where] = rng.choice(["", " ", "a", "\0", random_text(rng), target[where - 1], "Ġ Ġ Ġ"])
        try:
            Tokenizer.from_metadata(bad).encode("some text")
        except (ModelFormatError, TokenizerError):
            continue
