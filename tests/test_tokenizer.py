"""Token ids equal llama.cpp's: for the reference vocabularies, and for vocabularies made here."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from tokenizer_oracle import (
    BYTES,
    SPM_START,
    SPM_START_TYPES,
    LlamaCpp,
    byte_level_vocabulary,
    metadata,
    random_texts,
    small_byte_level,
    spm,
    write_gguf,
)

from wgpu_infer.tokenizer.pretokenizers import FAMILIES, PRE_TOKENIZERS
from wgpu_infer.tokenizer.tokenizer import Tokenizer

VOCABULARIES = ["bert-bge", "command-r", "deepseek-coder", "gpt-2", "llama-bpe", "llama-spm", "phi-3", "qwen2"]


@pytest.fixture(scope="module")
def trained():
    return byte_level_vocabulary()


@pytest.fixture
def tiny():
    return Tokenizer.from_metadata(small_byte_level())


# --- against the reference files -----------------------------------------------------------------------------------


@pytest.mark.shared
@pytest.mark.parametrize("name", VOCABULARIES)
def test_ids_of_every_reference_case(shared, name):
    path = shared("vocab", f"ggml-vocab-{name}.gguf")
    tokenizer = Tokenizer.from_gguf(path)
    texts = shared("vocab", f"ggml-vocab-{name}.gguf.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")
    lines = shared("vocab", f"ggml-vocab-{name}.gguf.out").read_text().split("\n")
    assert len(texts) > 40
    for text, line in zip(texts, lines, strict=False):
        assert tokenizer.encode(text, add_special=False) == [int(word) for word in line.split()], repr(text)


@pytest.mark.shared
@pytest.mark.parametrize("name", VOCABULARIES)
def test_agrees_with_llama_cpp_on_other_texts(shared, name):
    path = shared("vocab", f"ggml-vocab-{name}.gguf")
    oracle, tokenizer = LlamaCpp(path), Tokenizer.from_gguf(path)
    story = shared("text", "frankenstein.txt").read_text(encoding="utf-8")
    texts = random_texts(200, 7) + [story[i : i + 400] for i in range(0, len(story), 9000)]
    names = [tokenizer.name_of(token) for token in sorted(tokenizer.eog_ids)]
    rng = random.Random(1)
    for text in texts:
        cut = rng.randrange(len(text) + 1)
        parse = rng.random() < 0.5
        given = text[:cut] + rng.choice(names) + text[cut:] if parse else text
        assert tokenizer.encode(given, True, parse) == oracle.encode(given, True, parse), repr(given)
    assert tokenizer.eog_ids == oracle.ends()
    oracle.close()


@pytest.mark.shared
@pytest.mark.parametrize("name", ["llama-spm", "llama-bpe", "gpt-2", "deepseek-coder", "phi-3"])
def test_pieces_are_llama_cpps(shared, name):
    path = shared("vocab", f"ggml-vocab-{name}.gguf")
    oracle, tokenizer = LlamaCpp(path), Tokenizer.from_gguf(path)
    assert oracle.size == tokenizer.vocab_size
    for token in range(tokenizer.vocab_size):
        assert tokenizer.token_bytes(token, skip_special=False) == oracle.piece(token, True)
        assert tokenizer.token_bytes(token) == oracle.piece(token, False)
    oracle.close()


@pytest.mark.shared
@pytest.mark.parametrize("name", [name for name in VOCABULARIES if name not in ("bert-bge", "phi-3")])
def test_decoding_gives_the_text_back(shared, name):
    tokenizer = Tokenizer.from_gguf(shared("vocab", f"ggml-vocab-{name}.gguf"))
    for text in random_texts(300, 5):
        text = text.replace("▁", "")  # SentencePiece cannot tell it from a space
        assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.shared
def test_the_ids_of_the_stories_model(shared):
    tokenizer = Tokenizer.from_gguf(str(shared("models", "stories260K-f32.gguf")))
    ids = [1, 403, 407, 261, 378, 432, 383, 286, 261, 376, 298, 315, 421]
    assert tokenizer.encode("Once upon a time, there was a little girl") == ids
    assert tokenizer.decode(ids) == "Once upon a time, there was a little girl"
    assert (tokenizer.vocab_size, tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id) == (512, 1, 2, 0)
    assert tokenizer.encode("") == [1] and tokenizer.encode("", add_special=False) == []


# --- byte-pair vocabularies made here ------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "whitespace"])
def test_words_of_each_pre_tokenizer_are_llama_cpps(tmp_path, trained, family):
    names = [name for name, pre in PRE_TOKENIZERS.items() if pre.family == family]
    tokens, merges = trained
    meta = metadata("gpt2", tokens, merges=merges, pre=names[0], token_type=[1] * len(tokens), bos_token_id=0)
    path = write_gguf(tmp_path / "vocab.gguf", meta)
    oracle, tokenizer = LlamaCpp(path), Tokenizer.from_gguf(path)
    for text in random_texts(150, 11):
        assert tokenizer.encode(text) == oracle.encode(text, True), (names[0], text)
    oracle.close()


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
def test_every_pre_tokenizer_name_keeps_the_text(trained, name):
    tokens, merges = trained
    given = [*tokens, *BYTES, "▁"] if not PRE_TOKENIZERS[name].byte_level else tokens
    types = [6 if token in BYTES else 1 for token in given]
    tokenizer = Tokenizer.from_metadata(
        metadata("gpt2", given, merges=merges, pre=name, token_type=types, bos_token_id=0)
    )
    for text in ["It's 12345 o'clock, HelloWorld!\n\n  über  日本語\r\n", "x  \n 1000000 <sentinel:1> 안녕 ½1234"]:
        assert tokenizer.decode(tokenizer.encode(text, add_special=False)) == text


def test_gpt2_words_are_those_of_the_tokenizers_library(trained, tiny):
    from tokenizers import Tokenizer as Library
    from tokenizers import models, pre_tokenizers

    tokens, merges = trained
    pairs = [tuple(merge.split(" ")) for merge in merges]
    library = Library(models.BPE({token: i for i, token in enumerate(tokens)}, pairs))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    for text in random_texts(300, 13):
        assert tiny.encode(text, add_special=False) == library.encode(text).ids


@pytest.mark.parametrize("lowercase", [False, True])
def test_whitespace_vocabularies(tmp_path, lowercase):
    tokens = [*"abcdefghAB日", "ab", "cd", "abcd", *BYTES]
    meta = metadata(
        "whitespace",
        tokens,
        merges=["a b", "c d", "ab cd"],
        pre="whitespace",
        token_type=[1] * 14 + [6] * 256,
        bos_token_id=0,
        eos_token_id=1,
    )
    meta["tokenizer.ggml.normalizer.lowercase"] = lowercase
    path = write_gguf(tmp_path / "vocab.gguf", meta)
    oracle, tokenizer = LlamaCpp(path), Tokenizer.from_gguf(path)
    for text in ["abcd  ABCD\nİ日 \x1cab\u3000cd", " é ab", *random_texts(100, 3)]:
        assert tokenizer.encode(text) == oracle.encode(text, True), repr(text)
    oracle.close()


def test_a_vocabulary_without_some_bytes_keeps_words_apart(tmp_path):
    # the missing byte is dropped, but "a" and "b" around it must not merge
    meta = metadata("gpt2", ["a", "b", "ab", "Ġ"], merges=["a b"], pre="gpt-2", token_type=[1] * 4, bos_token_id=3)
    path = write_gguf(tmp_path / "vocab.gguf", meta)
    oracle, tokenizer = LlamaCpp(path), Tokenizer.from_gguf(path)
    assert tokenizer.encode("axb ab", False) == oracle.encode("axb ab") == [0, 1, 3, 2]
    oracle.close()


def test_a_word_that_is_a_token_skips_its_merges(trained):
    tokens = ["a", "b", "c", "ab", "abc", "Ġ"]
    wanted = {"gpt-2": [3, 2], "llama-bpe": [4]}
    for pre, ids in wanted.items():
        meta = metadata("gpt2", tokens, merges=["a b"], pre=pre, bos_token_id=5)
        assert Tokenizer.from_metadata(meta).encode("abc", add_special=False) == ids


# --- SentencePiece vocabularies made here --------------------------------------------------------------------------


def merge_slowly(text: str, scores: dict[str, float]) -> list[str]:
    """The definition: join the neighbours with the best score, the leftmost of equals, until none joins."""
    symbols = list(text)
    while True:
        pairs = [(-scores[a + b], i) for i, (a, b) in enumerate(itertools.pairwise(symbols)) if a + b in scores]
        if not pairs:
            return symbols
        i = min(pairs)[1]
        symbols[i : i + 2] = ["".join(symbols[i : i + 2])]


@pytest.mark.parametrize("kind", ["tied", "distinct", "none"])
@pytest.mark.parametrize("seed", range(6))
def test_spm_merges_by_score_then_leftmost(tmp_path, kind, seed):
    rng = random.Random(f"{kind}{seed}")
    alphabet = rng.choice(["ab", "a▁=", "abcé日▁"])
    tokens = {"".join(rng.choice(alphabet) for _ in range(rng.randrange(1, 6))) for _ in range(40)}
    tokens = sorted(tokens)
    draw = {"tied": lambda: float(rng.randrange(-3, 2)), "distinct": lambda: rng.uniform(-9, 0), "none": lambda: 0.0}[
        kind
    ]
    scores = [draw() for _ in tokens]
    meta = spm(tokens, None if kind == "none" else scores, add_space_prefix=False, add_bos_token=False)
    tokenizer = Tokenizer.from_metadata(meta)
    exact = {token: float(np.float32(score)) for token, score in zip(tokens, scores, strict=True)}
    texts = ["".join(rng.choice(alphabet) * rng.choice([1, 1, 4]) for _ in range(rng.randrange(25))) for _ in range(60)]
    for text in texts:
        symbols = merge_slowly(text, exact)
        known = [s if s in exact else [f"<0x{b:02X}>" for b in s.encode()] for s in symbols]
        names = [name for item in known for name in ([item] if isinstance(item, str) else item)]
        assert [tokenizer.name_of(token) for token in tokenizer.encode(text)] == names, text
    oracle = LlamaCpp(write_gguf(tmp_path / "vocab.gguf", meta))
    for text in texts:
        assert tokenizer.encode(text) == oracle.encode(text, True)
    oracle.close()


@pytest.mark.parametrize("prefix", [True, False])
@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("eos", [True, False])
def test_spm_prefix_and_special_tokens(tmp_path, prefix, bos, eos):
    tokens = ["▁", "a", "▁a", "b", "<tool>", "  "]
    meta = spm(
        tokens, [-3.0, -2.0, -1.0, -4.0, 0.0, 0.0], [1, 1, 1, 1, 4, 4],
        add_space_prefix=prefix, add_bos_token=bos, add_eos_token=eos,
    )  # fmt: skip
    path = write_gguf(tmp_path / "vocab.gguf", meta)
    oracle, tokenizer = LlamaCpp(path), Tokenizer.from_gguf(path)
    for text in ["", "a", " a", "a<tool>a", "<s>a</s>a b", "a  b   a", "<tool><tool>a", "é\n"]:
        for parse in (False, True):
            if not ("<s>" in text and not parse):  # there llama.cpp may form the control token from text
                assert tokenizer.encode(text, True, parse) == oracle.encode(text, True, parse), (text, parse)
    oracle.close()


def test_spm_collapses_spaces_where_the_file_says_so():
    plain = {"add_bos_token": False, "add_space_prefix": True}
    tokens = ["▁", "a", "▁a"]
    keep = Tokenizer.from_metadata(spm(tokens, [-2.0, -3.0, -1.0], **plain))
    collapse = Tokenizer.from_metadata(spm(tokens, [-2.0, -3.0, -1.0], remove_extra_whitespaces=True, **plain))
    assert [keep.name_of(token) for token in keep.encode(" a  a ")] == ["▁", "▁a", "▁", "▁a", "▁"]
    assert [collapse.name_of(token) for token in collapse.encode(" a  a ")] == ["▁a", "▁a"]


# --- WordPiece and unigram vocabularies made here ------------------------------------------------------------------


@pytest.mark.shared
@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("strip_accents", [False, True])
def test_wordpiece_normalisation(shared, tmp_path, lowercase, strip_accents):
    source = Tokenizer.from_gguf(shared("vocab", "ggml-vocab-bert-bge.gguf"))
    tokens = [source.name_of(token) for token in range(6000)]
    tokens += [token.upper() for token in tokens[2500:4000] if token.upper() not in tokens]
    controls = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    meta = metadata("bert", tokens, token_type=[3 if token in controls else 1 for token in tokens])
    meta["tokenizer.ggml.normalizer.lowercase"] = lowercase
    meta["tokenizer.ggml.normalizer.strip_accents"] = strip_accents
    path = write_gguf(tmp_path / "vocab.gguf", meta)
    oracle, tokenizer = LlamaCpp(path), Tokenizer.from_gguf(path)
    for text in ["Crème BRÛLÉE, [MASK]!", "Ω≈ç√ ~^$", *random_texts(300, 17)]:
        assert tokenizer.encode(text, True, True) == oracle.encode(text, True, True), repr(text)
    oracle.close()


@pytest.mark.parametrize("prefix", [True, False])
@pytest.mark.parametrize("collapse", [True, False])
def test_unigram_segmentation(tmp_path, prefix, collapse):
    rng = random.Random(23)
    tokens = sorted({"".join(rng.choice("abc▁é") for _ in range(rng.randrange(1, 5))) for _ in range(150)})
    types = [3, 3, 2] + [rng.choice([1, 1, 1, 5]) for _ in tokens]
    meta = metadata(
        "t5", ["<pad>", "</s>", "<unk>", *tokens], scores=[0.0] * 3 + [rng.uniform(-9, -1) for _ in tokens],
        token_type=types, add_space_prefix=prefix, remove_extra_whitespaces=collapse,
    )  # fmt: skip
    path = write_gguf(tmp_path / "vocab.gguf", meta)
    oracle, tokenizer = LlamaCpp(path), Tokenizer.from_gguf(path)
    for _ in range(200):
        text = "".join(rng.choice("abc  éxß") for _ in range(rng.randrange(30))) + rng.choice(["", "</s>", "<unk> a"])
        for parse in (False, True):
            assert tokenizer.encode(text, True, parse) == oracle.encode(text, True, parse), repr(text)
    oracle.close()


def test_unigram_character_map_against_the_tokenizers_library():
    # a map made by hand: a double array with "A" -> "a" and "é" (C3 A9) -> "e"
    from wgpu_infer.tokenizer.unigram import CharacterMap
    from wgpu_infer.tokenizer.vocab import read_vocab

    nodes = [0] * 512
    nodes[0] = 1 << 10  # the root's children start at 1

    def child(position: int, byte: int, offset: int, ends: bool) -> None:
        nodes[position] = offset << 10 | ends << 8 | byte

    at = 1 ^ ord("A")
    child(at, ord("A"), 200 ^ at, True)
    nodes[200] = 1 << 31 | 0
    at = 1 ^ 0xC3
    child(at, 0xC3, 300 ^ at, False)
    at = 300 ^ 0xA9
    child(at, 0xA9, 256 ^ at, True)
    nodes[256] = 1 << 31 | 2
    blob = np.array([4 * len(nodes), *nodes], "<u4").tobytes() + b"a\0e\0"
    meta = metadata(
        "t5", ["<pad>", "</s>", "<unk>"], token_type=[3, 3, 2], precompiled_charsmap=np.frombuffer(blob, "u1")
    )
    chars = CharacterMap(read_vocab(meta))
    normalizers = pytest.importorskip("tokenizers").normalizers
    library = normalizers.Precompiled(blob)
    for text in ["AéÃA bcé", "", "Éé日A", "plain", "é" * 40]:
        assert chars.apply(text) == library.normalize_str(text) == text.replace("A", "a").replace("é", "e")


# --- special tokens ------------------------------------------------------------------------------------------------


def test_text_that_spells_a_control_token_is_text_unless_asked(tiny):  # T05
    text = "hi<|im_end|><tool>"
    plain, parsed = tiny.encode(text, add_special=False), tiny.encode(text, add_special=False, parse_special=True)
    assert not any(tiny.is_control(token) for token in plain) and tiny.decode(plain) == text
    assert tiny.eos_id in parsed and tiny.decode(parsed) == "hi<tool>"
    assert tiny.decode(parsed, skip_special=False) == text
    assert plain[-1] == parsed[-1] and tiny.name_of(parsed[-1]) == "<tool>"  # user-defined tokens always match


@pytest.mark.shared
@pytest.mark.parametrize("name", VOCABULARIES)
def test_no_spelling_of_a_control_token_becomes_one(shared, name):  # T05
    tokenizer = Tokenizer.from_gguf(shared("vocab", f"ggml-vocab-{name}.gguf"))
    controls = [token for token in range(tokenizer.vocab_size) if tokenizer.is_control(token)]
    for text in ["<|im_end|>", "<|eot_id|>", "</s>", "[INST]", *(tokenizer.name_of(token) for token in controls[:40])]:
        ids = tokenizer.encode(f"a {text} b{text}", add_special=False)
        assert not any(tokenizer.is_control(token) for token in ids), text


def test_spm_merges_never_make_a_control_token():  # llama.cpp does here, from "<s" and ">"
    tokenizer = Tokenizer.from_metadata(spm(["<", "s", ">", "<s"], [-1.0] * 4, add_space_prefix=False))
    assert [tokenizer.name_of(token) for token in tokenizer.encode("<s>", False)] == ["<s", ">"]
    assert tokenizer.encode("<s>", False, parse_special=True) == [1]


def test_longer_special_tokens_go_first(tiny):  # T09
    tokens = ["<a>", "<a>b", "b", "<", "a", ">", "aa", "aab"]
    meta = metadata("gpt2", tokens, merges=[], pre="gpt-2", token_type=[4, 4, 1, 1, 1, 1, 3, 3], bos_token_id=2)
    tokenizer = Tokenizer.from_metadata(meta)
    assert tokenizer.encode("<a>b<a><a>b", False) == [1, 0, 1]
    assert tokenizer.encode("aaab", False, parse_special=True) == [4, 7]  # the longest, not the leftmost
    assert tokenizer.encode("aaab", False) == [4, 4, 4, 2]


def test_stripping_of_phi3(tmp_path):
    tokens = ["▁", "a", "▁a", "<|user|>", "<|end|>", "<|endoftext|>"]
    meta = spm(tokens, [-3.0, -2.0, -1.0, 0.0, 0.0, 0.0], [1, 1, 1, 3, 3, 3], add_bos_token=True)
    meta["general.name"] = "Phi-3 mini"
    path = write_gguf(tmp_path / "vocab.gguf", meta)
    oracle, tokenizer = LlamaCpp(path), Tokenizer.from_gguf(path)
    for text in ["<|user|>\n a<|end|>\n<|user|> \t", "<|endoftext|> a", "a <|end|>   a"]:
        assert tokenizer.encode(text, True, True) == oracle.encode(text, True, True)
    oracle.close()


def test_ends_of_generation_are_found_by_name_and_by_metadata():
    tokens = [*SPM_START, "<|im_end|>", "<|eot_id|>", "<end_of_turn>", "x", "<|fim_pad|>"]
    meta = metadata("llama", tokens, token_type=[*SPM_START_TYPES, 1, 3, 3, 1, 3], eos_token_id=262, eot_token_id=260)
    tokenizer = Tokenizer.from_metadata(meta)
    assert tokenizer.eog_ids == {2, 259, 260, 261, 262, 263}
    assert (tokenizer.eos_id, tokenizer.eot_id, tokenizer.pad_id) == (262, 260, None)
    assert tokenizer.is_control(259)  # its type in the file is wrong


def test_gpt_oss_end_is_not_an_end():
    tokens = [*SPM_START, "<|return|>", "<|call|>", "<|end|>", "<|channel|>"]
    tokenizer = Tokenizer.from_metadata(metadata("llama", tokens, token_type=[*SPM_START_TYPES, 3, 3, 3, 3]))
    assert tokenizer.eog_ids == {2, 259, 260}
    assert not tokenizer.is_control(261) and tokenizer.token_bytes(262) == b"<|channel|>"


def test_special_ids_outside_the_vocabulary_are_ignored(caplog):
    tokenizer = Tokenizer.from_metadata(spm(["a"], padding_token_id=2**32 - 1, bos_token_id=9999))
    assert tokenizer.pad_id is None and tokenizer.bos_id == 1
    assert "padding_token_id" in caplog.text


@pytest.mark.parametrize("bos", [None, True, False])
def test_bos_defaults_differ_by_pre_tokenizer(trained, bos):
    tokens, merges = trained
    for pre, default in (("gpt-2", False), ("llama-bpe", True), ("tekken", True), ("qwen2", False)):
        meta = metadata("gpt2", tokens, merges=merges, pre=pre, bos_token_id=4, add_bos_token=bos)
        wanted = default if bos is None else bos
        assert (Tokenizer.from_metadata(meta).encode("") == [4]) is wanted
