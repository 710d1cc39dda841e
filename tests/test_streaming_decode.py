"""Decoding token by token: whole characters only, and together exactly what decode gives."""

from __future__ import annotations

import random
import time

import pytest
from tokenizer_oracle import SPM_START, SPM_START_TYPES, metadata, random_texts

from wgpu_infer.errors import TokenizerError
from wgpu_infer.tokenizer.streaming import StreamDecoder
from wgpu_infer.tokenizer.tokenizer import Tokenizer

WORDS = ["▁", "▁Hello", "▁world", "é", "日"]


@pytest.fixture(scope="module")
def tokenizer():
    """Bytes and a few words. Byte b is token 3 + b."""
    types = SPM_START_TYPES + [1] * len(WORDS)
    return Tokenizer.from_metadata(metadata("llama", SPM_START + WORDS, token_type=types))


def stream(tokenizer, ids, **options) -> list[str]:
    decoder = StreamDecoder(tokenizer, **options)
    return [decoder.push(token) for token in ids] + [decoder.finish()]


def as_bytes(data: bytes) -> list[int]:
    return [3 + byte for byte in data]


def test_a_character_comes_out_with_its_last_byte(tokenizer):  # T04
    assert stream(tokenizer, as_bytes("a🦙é".encode())) == ["a", "", "", "", "🦙", "", "é", ""]


def test_what_cannot_be_utf8_is_shown_as_soon_as_that_is_certain(tokenizer):
    assert stream(tokenizer, as_bytes(b"\xffa")) == ["\ufffd", "a", ""]
    assert stream(tokenizer, as_bytes(b"\xe6\x97A")) == ["", "", "\ufffdA", ""]
    assert stream(tokenizer, as_bytes(b"\xf0\x9f\xa6")) == ["", "", "", "\ufffd"]  # unfinished at the end
    assert stream(tokenizer, as_bytes(b"\xc0\x80")) == ["\ufffd", "\ufffd", ""]  # overlong


def test_pieces_joined_are_the_decoded_text(tokenizer):
    rng = random.Random(3)
    lead = [0xC3, 0xE6, 0xF0, 0xED, 0xF4, 0xC0, 0xFF]
    for _ in range(3000):
        data = bytes(rng.choice([rng.choice(lead), rng.randrange(0x80, 0xC0), rng.randrange(256)]) for _ in range(9))
        ids = [rng.choice([token, token, rng.randrange(tokenizer.vocab_size)]) for token in as_bytes(data)]
        for skip in (True, False):
            for continuing in (True, False):
                options = {"skip_special": skip, "continuing": continuing}
                assert "".join(stream(tokenizer, ids, **options)) == tokenizer.decode(ids, **options)


def test_replacement_is_that_of_python(tokenizer):
    rng = random.Random(4)
    for _ in range(2000):
        data = bytes(rng.choice([0xE0, 0xED, 0xF0, 0xF4, 0x80, 0x9F, 0xA0, 0xBF, 0x41]) for _ in range(8))
        assert tokenizer.decode(as_bytes(data)) == data.decode("utf-8", "replace")


def test_the_space_in_front_is_taken_away_once(tokenizer):
    hello, world = 3 + 256 + 1, 3 + 256 + 2
    assert tokenizer.decode([1, hello, world]) == "Hello world"
    assert stream(tokenizer, [1, hello, world]) == ["", "Hello", " world", ""]
    assert stream(tokenizer, [world], continuing=True) == [" world", ""]
    assert tokenizer.decode([world], continuing=True) == " world"
    assert tokenizer.decode(as_bytes(b" a")) == " a"  # a byte was never put in front by encode


def test_special_tokens_are_left_out_unless_wanted(tokenizer):
    assert stream(tokenizer, [1, 3 + 65, 2, 0]) == ["", "A", "", "", ""]
    assert stream(tokenizer, [1, 3 + 65, 2], skip_special=False) == ["<s>", "A", "</s>", ""]


def test_an_unknown_id_is_named(tokenizer):
    with pytest.raises(TokenizerError, match="99999"):
        StreamDecoder(tokenizer).push(99999)


def test_work_per_token_is_constant(tokenizer):
    decoder = StreamDecoder(tokenizer)
    ids = as_bytes("日本".encode() * 5000)
    halves = []
    for _ in range(2):
        start = time.process_time()
        for token in ids:
            decoder.push(token)
        halves.append(time.process_time() - start)
    assert halves[1] < 4 * halves[0] + 0.05


@pytest.mark.shared
@pytest.mark.parametrize("name", ["llama-spm", "llama-bpe", "qwen2", "gpt-2", "deepseek-coder"])
def test_real_vocabularies_stream_what_was_encoded(shared, name):
    tokenizer = Tokenizer.from_gguf(shared("vocab", f"ggml-vocab-{name}.gguf"))
    for text in random_texts(150, 9):
        text = text.replace("▁", "")  # SentencePiece cannot tell it from a space
        pieces = stream(tokenizer, tokenizer.encode(text))
        assert "".join(pieces) == text
        assert "\ufffd" in text or not any("\ufffd" in piece for piece in pieces)
