"""The embedded model's file, and the tools that made it: story generator, windows measure, trainer.

Judged by the gguf package (the file) and the tokenizers library (its vocabulary).
"""

from __future__ import annotations

import hashlib
import random
import re
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "wgpu_infer" / "data" / "stories.gguf"
sys.path.insert(0, str(ROOT / "tools"))

import story_corpus  # noqa: E402
import story_frames  # noqa: E402
import story_heldout  # noqa: E402
import story_plots2  # noqa: E402
from check_default_model import keeps_hero  # noqa: E402
from story_data import recalled  # noqa: E402
from story_enrich import enrich  # noqa: E402
from story_noise import FIRST_FREE, add_noise  # noqa: E402
from story_windows import repeated_share, window_hashes  # noqa: E402


@pytest.fixture(scope="module")
def reader():
    gguf = pytest.importorskip("gguf")
    return gguf.GGUFReader(MODEL)


def _value(reader, key: str):
    return reader.fields[key].contents()


def test_file_fits_the_wheel():
    assert MODEL.stat().st_size <= 6_000_000


def test_every_matrix_is_f16_with_rows_of_whole_k_quant_blocks(reader):
    matrices = [tensor for tensor in reader.tensors if len(tensor.shape) == 2]
    assert len(matrices) == 1 + 7 * _value(reader, "llama.block_count")
    for tensor in matrices:
        assert tensor.tensor_type.name == "F16"
        assert tensor.shape[0] % 256 == 0  # GGUF lists the row length first
        assert np.isfinite(tensor.data).all() and np.asarray(tensor.data).std() > 1e-3
    assert {t.tensor_type.name for t in reader.tensors if len(t.shape) == 1} == {"F32"}


def test_architecture_metadata(reader):
    assert _value(reader, "general.architecture") == "llama"
    assert _value(reader, "llama.context_length") >= 512
    assert _value(reader, "tokenizer.ggml.model") == "gpt2"
    assert _value(reader, "tokenizer.ggml.pre") == "gpt-2"
    assert _value(reader, "tokenizer.ggml.add_bos_token") is True


def test_vocabulary_is_whole(reader):
    """Ids are distinct, all 256 bytes and both control tokens are there, and each merge makes a known token."""
    from tokenizers.pre_tokenizers import ByteLevel

    tokens = _value(reader, "tokenizer.ggml.tokens")
    types = _value(reader, "tokenizer.ggml.token_type")
    known = set(tokens)
    assert 1024 <= len(tokens) == len(known) == len(types) <= 4096
    assert set(ByteLevel.alphabet()) <= known
    control = {_value(reader, f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos")}
    assert {i for i, kind in enumerate(types) if kind == 3} == control
    for merge in _value(reader, "tokenizer.ggml.merges"):
        left, right = merge.split(" ")
        assert {left, right, left + right} <= known


def test_vocabulary_round_trips_any_text(reader):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    tokens = _value(reader, "tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ")) for merge in _value(reader, "tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    story = story_corpus.make_story(10_000_001)
    for text in (story, "naïve €5 \U0001f600\n\ttabs", "".join(map(chr, range(32, 127)))):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text
    assert len(tokenizer.encode(story).ids) < 1.6 * len(story.split())


def test_stories_are_the_same_for_the_same_seed():
    """The card's figures and `--steps` repeat only while the corpus stays byte for byte what it was."""
    texts = [*story_corpus.stories(200), *story_corpus.stories(50, held_out=True)]
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()
    assert digest == "06daf5e1eeb874e79783b3bbedfa52731abd810beddd386d9e911f1788b595e0"
    assert len(set(texts)) == 250


@pytest.mark.parametrize("held_out", [False, True])
def test_stories_are_whole_sentences(held_out):
    for text in story_corpus.stories(300, 20_000_000, held_out):
        assert not re.search(r"[\[\]|<>{}]|  | [.,!?]", text)
        assert text[0] in '"' or text[0].isupper()
        assert text[-1] in '."!?' and text.count('"') % 2 == 0
        assert not re.search(r"\ba [aeiou]|\ban [^aeiouAEIOU]|[.!?] [a-z]", text.replace('"', "~"))


def test_training_stories_have_the_length_of_a_short_story():
    lengths = [len(text.split()) for text in story_corpus.stories(500)]
    assert min(lengths) >= 80 and max(lengths) <= 240
    assert 120 <= np.mean(lengths) <= 200


def test_characters_keep_their_pronouns():
    """Whoever is the hero is referred to by one sex only: the cast is drawn once for a story."""
    for seed in range(200):
        cast = story_corpus.make_cast(random.Random(seed))
        forms = {cast["he"], cast["him"], cast["his"], cast["himself"]}
        assert forms in ({"he", "him", "his", "himself"}, {"she", "her", "herself"})
        assert cast["H"] != cast["F"] and (
            cast["kind"] not in ("girl", "boy") or (cast["kind"] == "girl") == ("she" in forms)
        )


def _training_templates() -> set[str]:
    outlines = story_plots2.SOLO_OUTLINES + story_plots2.FRIEND_OUTLINES
    frames = [frame for outline in outlines for beat in outline for frame in beat]
    for name in ("OPENINGS", "FRIENDS", "TEXTURES", "CLOSINGS", "NIGHT_CLOSINGS", "FRIEND_CLOSINGS"):
        frames += getattr(story_frames, name)
    return {*frames, *map(enrich, frames)}


def _held_out_templates() -> set[str]:
    frames = [frame for outline in story_heldout.OUTLINES for beat in outline for frame in beat]
    return {*frames, *story_heldout.OPENINGS, *story_heldout.TEXTURES, *story_heldout.CLOSINGS}


def test_held_out_templates_are_never_used_for_training():
    training, held_out = _training_templates(), _held_out_templates()
    assert len(training) > 400 and len(held_out) > 50
    assert not training & held_out
    rng = random.Random(0)
    for _ in range(2000):
        assert not set(story_corpus.plan_training(rng)[0]) & held_out
        assert set(story_corpus.plan_held_out(rng)[0]) <= held_out


def test_held_out_stories_share_hardly_a_window_with_training():
    ids: dict[str, int] = {}
    corpus = np.sort(window_hashes(story_corpus.stories(3000), ids))
    assert repeated_share(story_corpus.stories(100, held_out=True), corpus, ids) < 0.001


def test_repeated_share_counts_windows():
    ids: dict[str, int] = {}
    words = [f"w{i}" for i in range(40)]
    corpus = np.sort(window_hashes([" ".join(words)], ids))
    assert len(corpus) == 29
    assert repeated_share([" ".join(words)], corpus, ids) == 1.0
    assert repeated_share([" ".join(words[::-1])], corpus, ids) == 0.0
    half = words[:20] + [f"x{i}" for i in range(11)]  # 9 of its 20 windows lie within the first 20 words
    assert repeated_share([" ".join(half)], corpus, ids) == pytest.approx(9 / 20)


def test_noise_spares_the_beginning_and_hides_its_first_tokens_from_the_loss():
    batch = np.arange(2, 202, dtype=np.uint16)[None].repeat(8, 0)
    batch[:, 150:] = 1
    clean, weights = batch.copy(), np.full(batch.shape, 5, dtype=np.float32)
    add_noise(batch, weights, 6, np.random.default_rng(3), np.full(10, 300, dtype=np.uint16), 500)
    changed = batch != clean
    assert not changed[6:].any() and (weights[6:] == 5).all()
    assert not changed[:, 0].any() and not changed[:, 150:].any()
    assert 0.05 < changed[:6, :150].mean() < 0.9
    assert set(np.unique(weights[:6])) <= {0.0, 1.0}
    for row, weight in zip(changed[:6], weights[:6], strict=True):
        assert (weight == 0).sum() <= FIRST_FREE and weight[np.argmax(row)] == 0


def test_recalled_marks_cast_words_that_came_before():
    is_cast = np.array([False, False, True, True, False])
    rows = np.array([[0, 2, 4, 2, 3, 4, 2], [0, 3, 3, 2, 4, 4, 1]])
    assert recalled(rows, is_cast).astype(int).tolist() == [[0, 0, 0, 1, 0, 0, 1], [0, 0, 1, 0, 0, 0, 0]]


@pytest.fixture(scope="module")
def llm():
    import wgpu_infer as wi

    with wi.LLM(device="cpu", kv="f32") as model:
        yield model


def _loss(llm, text: str) -> float:
    """Nats per token of a story and its end, by this project's engine."""
    ids = [*llm.tokenizer.encode(text, add_special=True), 1]
    logits = llm.logits(ids[:-1]).astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    chosen = logits[np.arange(len(ids) - 1), ids[1:]]
    return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - chosen))


def test_engine_finds_the_losses_of_the_card(llm):
    """Unseen stories score about as the card says; held-out ones lie between them and a uniform guess."""
    fresh = np.mean([_loss(llm, text) for text in story_corpus.stories(20, 10_000_000)])
    held_out = np.mean([_loss(llm, text) for text in story_corpus.stories(20, 10_000_000, held_out=True)])
    card = (MODEL.parent / "MODEL_CARD.md").read_text(encoding="utf-8")
    told = [float(value) for value in re.findall(r"([\d.]+) nats a token", card)[:2]]
    assert fresh == pytest.approx(told[0], abs=0.08)
    assert held_out == pytest.approx(told[1], abs=0.5)
    assert fresh < 1 < held_out < np.log(2048)


def test_it_writes_whole_stories_that_keep_their_hero(llm):
    import wgpu_infer as wi

    results = [llm.generate("", wi.SamplingParams(seed=seed)) for seed in range(10)]
    assert all(result.finish_reason not in ("length", "abort") for result in results)
    texts = [result.text for result in results]
    assert len(set(texts)) == 10
    assert sum(map(keeps_hero, texts)) >= 8
    assert all(60 <= len(text.split()) <= 300 for text in texts)


def test_training_learns_and_writes_a_gguf(tmp_path):
    """A run of seconds: the loss falls well below the uniform guess, and the file has the shapes asked for."""
    pytest.importorskip("torch")
    gguf = pytest.importorskip("gguf")
    from click.testing import CliRunner
    from train_default_model import main

    out = tmp_path / "smoke.gguf"
    arguments = "--steps 20 --stories 200 --batch 4 --vocab 512 --layers 1 --context 64 --eval-stories 8"
    result = CliRunner().invoke(main, [*arguments.split(), "--out", str(out)], catch_exceptions=False)
    fresh = float(re.search(r"'fresh': ([\d.]+)", result.output)[1])
    assert fresh < np.log(512) - 0.5
    shapes = {tensor.name: tuple(tensor.shape) for tensor in gguf.GGUFReader(out).tensors}
    assert shapes["token_embd.weight"] == (256, 512)
    assert shapes["blk.0.ffn_down.weight"] == (512, 256)
    assert "blk.1.attn_q.weight" not in shapes
