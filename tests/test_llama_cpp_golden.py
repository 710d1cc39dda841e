"""The committed logits of llama.cpp: they belong to the files at hand, agree with numpy's, and can be made again."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from tools.golden_logits import FOLDER, IDS, hash_weights, read_golden

STORIES = ["f32", "F16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL", "Q4_K_M", "Q6_K"]
ONCE = [1, 403, 407, 261, 378, 432, 383, 286, 261, 376, 298, 315, 421]  # "Once upon a time, there was a little girl"
# llama.cpp's own perplexity tool on the sample text
PERPLEXITY = {"f32": 6.899, "F16": 6.898, "Q8_0": 6.922, "Q4_K_M": 7.033, "Q4_0": 7.683}


def _nmse(values: np.ndarray, reference: np.ndarray) -> float:
    reference = reference.astype(np.float64)
    return float(np.mean((values - reference) ** 2) / np.mean(reference**2))


@pytest.mark.parametrize("format", STORIES)
def test_golden_file_belongs_to_the_model(format, shared):
    golden = read_golden(f"stories260K-{format}")
    assert golden.weights == hash_weights(shared("models", f"stories260K-{format}.gguf"))


@pytest.mark.parametrize("format", STORIES)
def test_golden_file_is_complete(format):
    golden = read_golden(f"stories260K-{format}")
    assert golden.ids.shape == (IDS,) and golden.ids[: len(ONCE)].tolist() == ONCE
    assert golden.positions.shape == (16,) and (np.diff(golden.positions) > 0).all() and golden.positions[-1] == 95
    assert golden.logits.dtype == np.float32 and golden.logits.shape == (16, 512)
    assert np.isfinite(golden.logits).all()


def test_golden_logits_agree_with_numpy_where_the_texts_do(shared):
    """The first positions share their prefix with the logits that numpy computed for the story from BOS."""
    golden = read_golden("stories260K-f32")
    with np.load(shared("models", "stories260K-golden.npz")) as file:
        same = int(np.argmin(golden.ids[:64] == file["ids"][:64]))
        kept = golden.positions < same
        assert kept.sum() >= 4
        assert _nmse(golden.logits[kept], file["logits"][golden.positions[kept]]) < 1e-9


def test_golden_files_are_small():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 1_000_000


@pytest.mark.parametrize("format", STORIES)
def test_llama_cpp_gives_the_golden_logits(format, shared):
    """Up to its order of summation, which depends on the CPU."""
    pytest.importorskip("llama_cpp")
    from tools.llama_cpp_oracle import Oracle

    golden = read_golden(f"stories260K-{format}")
    with Oracle(shared("models", f"stories260K-{format}.gguf"), IDS) as oracle:
        logits = oracle.logits(golden.ids.tolist())[golden.positions]
    assert _nmse(logits, golden.logits) < 1e-5


@pytest.mark.parametrize("format", list(PERPLEXITY))
def test_perplexity_is_that_of_llama_cpp_s_tool(format, shared):
    pytest.importorskip("llama_cpp")
    from tools.llama_cpp_oracle import CHUNK, Oracle, perplexity

    text = shared("text", "tinystories_sample.txt").read_text()
    with Oracle(shared("models", f"stories260K-{format}.gguf"), CHUNK, kv="f16") as oracle:
        assert perplexity(oracle, text) == pytest.approx(PERPLEXITY[format], rel=5e-3)


def test_golden_file_of_a_derived_model(tmp_path, monkeypatch):
    """As for the embedded model: derived in a format, fewer positions where the vocabulary is large."""
    pytest.importorskip("llama_cpp")
    pytest.importorskip("gguf")
    from tools import golden_logits
    from tools.made_shapes import SHAPES
    from tools.make_model import make_model
    from tools.quantize_gguf import quantize_gguf

    monkeypatch.setattr(golden_logits, "FOLDER", tmp_path)
    model = tmp_path / "model.gguf"
    make_model(replace(SHAPES["tiny-qwen2"], layers=1, vocab=2048), "F16", model)
    golden_logits.write_derived_golden(model, "Q4_K")
    golden = read_golden("model-Q4_K")
    assert golden.positions.tolist() == [1, 3, 15, 31, 47, 62, 64, 95] and golden.logits.shape == (8, 2048)
    assert golden_logits.golden_path("model-Q4_K").stat().st_size < 1.1 * golden_logits.MAX_BYTES
    quantize_gguf(model, tmp_path / "again.gguf", "Q4_K")
    assert hash_weights(tmp_path / "again.gguf") == golden.weights != hash_weights(model)


def test_commands(shared, tmp_path):
    pytest.importorskip("llama_cpp")
    from tools.llama_cpp_oracle import main

    golden = read_golden("stories260K-Q4_0")
    model, ids, out = shared("models", "stories260K-Q4_0.gguf"), tmp_path / "ids.json", tmp_path / "out.npz"
    ids.write_text(json.dumps(golden.ids.tolist()))
    assert CliRunner().invoke(main, ["logits", str(model), str(ids), str(out)]).exit_code == 0
    with np.load(out) as file:
        assert _nmse(file["logits"][golden.positions], golden.logits) < 1e-5
    text = shared("text", "tinystories_sample.txt")
    result = CliRunner().invoke(main, ["perplexity", str(model), str(text), "--kv", "f16"])
    assert float(result.output) == pytest.approx(PERPLEXITY["Q4_0"], rel=5e-3)


def test_oracle_refuses_ids_that_do_not_exist(shared):
    pytest.importorskip("llama_cpp")
    from tools.llama_cpp_oracle import Oracle

    with Oracle(shared("models", "stories260K-f32.gguf"), 8) as oracle:
        for ids in ([], [512], [-1], [1] * 9):
            with pytest.raises(ValueError, match="ids below 512"):
                oracle.logits(ids)
        assert oracle.piece(403) == b" Once" and oracle.bos == 1
    with pytest.raises(RuntimeError, match="cannot load"):
        Oracle("no such file.gguf")
