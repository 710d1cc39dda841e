"""Made models: their mixes are those of llama.cpp's quantiser, llama.cpp runs them, the gguf package reads them.

Tests that ask llama.cpp skip where llama-cpp-python (the extra `peer`) is not installed.
"""

from __future__ import annotations

import hashlib
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from tools.made_mixes import MIXES, PURE, choose_formats
from tools.made_shapes import SHAPES, Shape, list_tensors
from tools.made_vocab import CONTROL, NORMAL, TOKENIZERS, tokenizer_metadata
from tools.make_model import main, make_model
from wgpu_infer.errors import UnsupportedError
from wgpu_infer.formats.quants import FORMATS

TINY = sorted(name for name in SHAPES if name.startswith("tiny-"))
ALL_FORMATS = [*MIXES, *PURE]

# Small shapes in which each rule of the quantiser shows: many layers, wide and narrow groups, tied and untied output,
# rows that are not multiples of 256 or of 32.
_SMALL = replace(SHAPES["tiny-llama"], layers=17, dim=256, heads=4, kv_heads=2, hidden=256, vocab=384, head_dim=64)
MIX_SHAPES: dict[str, Shape] = {
    "group of 2": _SMALL,
    "group of 4, 8 layers": replace(_SMALL, layers=8, kv_heads=1),
    "rows of 224, tied": replace(SHAPES["tiny-qwen2"], layers=9, dim=224, heads=7, kv_heads=1, hidden=96, vocab=384),
    "rows of 352": replace(_SMALL, layers=3, hidden=352),
    "rows of 80": replace(_SMALL, layers=2, dim=80, heads=4, kv_heads=4, hidden=160, head_dim=20),
    "qwen3, tied": replace(SHAPES["tiny-qwen3"], layers=4, vocab=384),
    "phi2": replace(SHAPES["tiny-phi2"], layers=5, vocab=384),
}


def _quantise(source, target, name: str) -> None:
    """llama.cpp's quantiser on a whole file, in the mix `name` or purely in one format."""
    llama_cpp = pytest.importorskip("llama_cpp")
    from tools.llama_cpp_oracle import quieten

    quieten()
    options = llama_cpp.llama_model_quantize_default_params()
    options.nthread = 2
    options.ftype = (MIXES | PURE)[name].file_type
    options.pure = name in PURE
    assert llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), options) == 0


@pytest.fixture(scope="module")
def small_sources(tmp_path_factory):
    """F32 files of MIX_SHAPES, made once."""
    folder = tmp_path_factory.mktemp("sources")
    paths = {}
    for index, (name, shape) in enumerate(MIX_SHAPES.items()):
        paths[name] = folder / f"{index}.gguf"
        make_model(shape, "F32", paths[name])
    return paths


@pytest.mark.parametrize("case", list(MIX_SHAPES))
@pytest.mark.parametrize("name", ALL_FORMATS)
def test_mix_is_that_of_llama_cpp(name, case, small_sources, tmp_path):
    gguf = pytest.importorskip("gguf")
    shape = MIX_SHAPES[case]
    expected = choose_formats(name, list_tensors(shape), shape.heads // shape.kv_heads)
    _quantise(small_sources[case], tmp_path / "q.gguf", name)
    reader = gguf.GGUFReader(tmp_path / "q.gguf")
    assert {tensor.name: tensor.tensor_type.name for tensor in reader.tensors} == expected
    assert reader.fields["general.file_type"].contents() == (MIXES | PURE)[name].file_type


def test_every_format_can_be_made():
    assert set(FORMATS) <= set(ALL_FORMATS)


@pytest.mark.parametrize("name", ALL_FORMATS)
def test_values_have_the_size_asked_for(name, tmp_path):
    """Read back by the gguf package: centred, root mean square 1 / sqrt(columns) (2 / sqrt for the output)."""
    gguf = pytest.importorskip("gguf")
    make_model("tiny-llama", name, tmp_path / "m.gguf")
    for tensor in gguf.GGUFReader(tmp_path / "m.gguf").tensors:
        if len(tensor.shape) == 1:
            continue
        values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float64)
        columns = values.shape[1]
        size = np.sqrt(np.mean(values**2)) * np.sqrt(columns)
        gain = 2 if tensor.name in ("token_embd.weight", "output.weight") else 1
        assert 0.9 * gain < size < 1.2 * gain, tensor.name
        # In deviations of the mean of independent values; an offset of half a code would be 40 of them.
        assert abs(values.mean()) / values.std() * np.sqrt(values.size) < 6, tensor.name


@pytest.mark.parametrize("shape", TINY)
@pytest.mark.parametrize("name", ["F32", "BF16", "Q4_0", "Q5_1", "Q8_0", "Q3_K_M", "Q4_K_M", "IQ4_XS", "MXFP4"])
def test_llama_cpp_runs_every_architecture(shape, name, tmp_path):
    _check_logits(shape, name, tmp_path / "m.gguf")


@pytest.mark.parametrize("name", ALL_FORMATS)
def test_llama_cpp_runs_every_format(name, tmp_path):
    _check_logits("tiny-llama", name, tmp_path / "m.gguf")


def test_llama_cpp_runs_mini(tmp_path):
    _check_logits("mini", "Q4_K_M", tmp_path / "m.gguf")


def _check_logits(shape: str, name: str, path) -> None:
    pytest.importorskip("llama_cpp")
    from tools.llama_cpp_oracle import Oracle

    make_model(shape, name, path)
    with Oracle(path, context=64) as oracle:
        assert oracle.vocab == SHAPES[shape].vocab
        logits = oracle.logits([37 * index % oracle.vocab for index in range(40)])
    assert np.isfinite(logits).all()
    assert 1 < logits.std() < 4
    assert len(np.unique(logits.argmax(axis=1))) > 8, "the logits hardly depend on the tokens"


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    for index, seed in enumerate((1, 1, 2)):
        make_model("tiny-qwen3", "Q4_K_M", tmp_path / str(index), seed)
    first, second, third = (hashlib.sha256((tmp_path / str(index)).read_bytes()).digest() for index in range(3))
    assert first == second != third


def test_metadata_as_the_gguf_package_reads_it(tmp_path):
    gguf = pytest.importorskip("gguf")
    small = {"layers": 1, "dim": 64, "heads": 1, "kv_heads": 1, "hidden": 64, "vocab": 700}
    make_model(replace(SHAPES["llama-3.2-1b"], **small), "F16", tmp_path / "m")
    fields = {key: field.contents() for key, field in gguf.GGUFReader(tmp_path / "m").fields.items()}
    expected = {
        "general.architecture": "llama",
        "general.file_type": 1,
        "llama.context_length": 131_072,
        "llama.attention.head_count": 1,
        "llama.rope.freq_base": 500_000.0,
        "llama.rope.dimension_count": 64,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "llama-bpe",
        "tokenizer.ggml.bos_token_id": 698,
        "tokenizer.ggml.add_bos_token": True,
    }
    assert {key: fields[key] for key in expected} == expected
    assert fields["llama.attention.layer_norm_rms_epsilon"] == pytest.approx(1e-5)
    assert len(fields["tokenizer.ggml.tokens"]) == 700 and fields["tokenizer.ggml.tokens"][699] == "<|end_of_text|>"
    factors = next(t for t in gguf.GGUFReader(tmp_path / "m").tensors if t.name == "rope_freqs.weight").data
    assert factors.dtype == np.float32 and factors[0] == 1 and factors[-1] == 32 and (np.diff(factors) >= 0).all()


@pytest.mark.parametrize("name", list(TOKENIZERS))
@pytest.mark.parametrize("size", [512, 5000])
def test_vocabulary_has_its_size_and_no_token_twice(name, size):
    _check_vocabulary(name, size)


@pytest.mark.parametrize("shape", [name for name in SHAPES if name not in TINY])
def test_vocabulary_of_real_shapes(shape):
    _check_vocabulary(SHAPES[shape].tokenizer, SHAPES[shape].vocab)


def test_special_tokens_have_their_real_ids():
    keys = tokenizer_metadata("qwen2", 151_936)
    assert keys["tokenizer.ggml.tokens"].index("<|im_end|>") == 151_645
    assert tokenizer_metadata("llama3", 128_256)["tokenizer.ggml.bos_token_id"] == 128_000
    assert tokenizer_metadata("deepseek-coder", 32_256)["tokenizer.ggml.eos_token_id"] == 32_014


def _check_vocabulary(name: str, size: int) -> None:
    keys = tokenizer_metadata(name, size)
    tokens = keys["tokenizer.ggml.tokens"]
    assert len(tokens) == len(set(tokens)) == len(keys["tokenizer.ggml.token_type"]) == size
    assert tokens[keys["tokenizer.ggml.bos_token_id"]] == TOKENIZERS[name].bos
    assert keys["tokenizer.ggml.token_type"][keys["tokenizer.ggml.eos_token_id"]] == CONTROL


@pytest.mark.parametrize("tokenizer", list(TOKENIZERS))
def test_every_token_survives_llama_cpp(tokenizer, tmp_path):
    """The text of a token encodes to that token: tokens of a word with its space, in the SPM model without it."""
    pytest.importorskip("llama_cpp")
    from tools.llama_cpp_oracle import Oracle

    make_model(replace(SHAPES["tiny-llama"], layers=1, vocab=5400, tokenizer=tokenizer), "Q4_0", tmp_path / "m.gguf")
    keys = tokenizer_metadata(tokenizer, 5400)
    spm = TOKENIZERS[tokenizer].model == "llama"
    checked = 0
    with Oracle(tmp_path / "m.gguf") as oracle:
        for index, kind in enumerate(keys["tokenizer.ggml.token_type"]):
            piece = oracle.piece(index)
            if kind != NORMAL or not piece.isascii() or (spm and not piece.startswith(b" ")) or piece == b" ":
                continue
            text = piece.decode().removeprefix(" " if spm else "")
            assert oracle.tokenize(text, add_special=False) == [index], piece
            checked += 1
    assert checked > 2000


def test_a_file_is_written_in_little_memory(tmp_path):
    tracemalloc.start()
    make_model("mini", "Q8_0", tmp_path / "m.gguf")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / "m.gguf").stat().st_size > 150e6
    assert peak < 100e6


def test_unknown_names_are_refused(tmp_path):
    with pytest.raises(UnsupportedError, match=r"llama-9.*tinyllama-1\.1b"):
        make_model("llama-9", "Q4_0", tmp_path / "m.gguf")
    with pytest.raises(UnsupportedError, match=r"Q9_0.*Q4_K_M"):
        make_model("tiny-llama", "Q9_0", tmp_path / "m.gguf")
    assert not list(tmp_path.iterdir())


def test_command(tmp_path):
    out = tmp_path / "m.gguf"
    result = CliRunner().invoke(main, ["tiny-phi2", "Q4_0", str(out), "--seed", "3"])
    assert result.exit_code == 0 and f"{out.stat().st_size / 1e6:.1f} MB" in result.output
    assert CliRunner().invoke(main, ["tiny-phi3", "Q4_0", str(out)]).exit_code == 2
