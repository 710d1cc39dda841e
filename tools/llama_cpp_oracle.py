"""llama.cpp as the judge: its logits and its perplexity for a GGUF file, and the golden files that tests compare with.

    python tools/llama_cpp_oracle.py logits MODEL IDS.json OUT.npz [--kv f32]
    python tools/llama_cpp_oracle.py perplexity MODEL TEXT [--kv f16]
    python tools/llama_cpp_oracle.py golden ../shared/models/stories260K-*.gguf
    python tools/llama_cpp_oracle.py golden wgpu_infer/data/stories.gguf --as Q8_0 --as Q6_K

Needs llama-cpp-python (the extra `peer`) and uses its low-level binding: CPU, one thread, no flash attention, weights
as they lie in the file. Note that llama.cpp multiplies quantised weights with activations rounded to int8 (F16 ones
with activations rounded to F16), so its logits are not those of exact arithmetic on the same weights.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import llama_cpp
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout, when run as a script

CHUNK = 256  # tokens of a perplexity chunk; its second half is scored
KV_TYPES = {"f32": llama_cpp.GGML_TYPE_F32, "f16": llama_cpp.GGML_TYPE_F16}


class Oracle:
    """A model opened in llama.cpp; use it as a context manager.

    context: tokens that the KV cache holds. kv: f32 or f16. threads: of llama.cpp; the logits do not depend on them.
    """

    def __init__(self, path: str | os.PathLike[str], context: int = 512, kv: str = "f32", threads: int = 1):
        quieten()
        self._context = None
        options = llama_cpp.llama_model_default_params()
        options.n_gpu_layers = 0
        options.use_extra_bufts = False  # no repacked weights
        self._model = llama_cpp.llama_model_load_from_file(os.fsencode(path), options)
        if not self._model:
            raise RuntimeError(f"llama.cpp cannot load {path}")
        self._context = llama_cpp.llama_init_from_model(self._model, self._options(context, kv, threads))
        if not self._context:
            self.close()
            raise RuntimeError(f"llama.cpp cannot make a context of {context} tokens for {path}")
        self.context = context
        self._vocab = llama_cpp.llama_model_get_vocab(self._model)
        self.vocab = llama_cpp.llama_vocab_n_tokens(self._vocab)
        self.bos = llama_cpp.llama_vocab_bos(self._vocab)

    @staticmethod
    def _options(context: int, kv: str, threads: int) -> llama_cpp.llama_context_params:
        options = llama_cpp.llama_context_default_params()
        options.n_ctx = options.n_batch = options.n_ubatch = context
        options.n_threads = options.n_threads_batch = threads
        options.type_k = options.type_v = KV_TYPES[kv]
        options.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        return options

    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Logits after every id of one sequence, computed in one batch: float32 (len(ids), vocab)."""
        if not 0 < len(ids) <= self.context or not all(0 <= each < self.vocab for each in ids):
            raise ValueError(f"expected 1 to {self.context} ids below {self.vocab}, got {len(ids)}: {list(ids)[:8]}")
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)
        with _batch(ids) as batch:
            if llama_cpp.llama_decode(self._context, batch):
                raise RuntimeError("llama_decode failed")
        pointer = llama_cpp.llama_get_logits(self._context)
        return np.ctypeslib.as_array(pointer, (len(ids), self.vocab)).copy()

    def tokenize(self, text: str, add_special: bool = True) -> list[int]:
        """Ids of a text in which control tokens are plain text; `add_special` puts BOS first where the file asks it."""
        raw = text.encode()
        ids = (llama_cpp.llama_token * (len(raw) + 2))()
        count = llama_cpp.llama_tokenize(self._vocab, raw, len(raw), ids, len(ids), add_special, False)
        return list(ids[:count])

    def piece(self, token: int) -> bytes:
        """The bytes that a token adds to a text."""
        buffer = ctypes.create_string_buffer(256)
        count = llama_cpp.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, True)
        return buffer.raw[:count]

    def close(self) -> None:
        if self._context:
            llama_cpp.llama_free(self._context)
        if self._model:
            llama_cpp.llama_model_free(self._model)
        self._context = self._model = None

    def __enter__(self) -> Oracle:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def _batch(ids: Sequence[int]) -> Iterator[llama_cpp.llama_batch]:
    """One sequence from position 0, with logits wanted for each token."""
    batch = llama_cpp.llama_batch_init(len(ids), 0, 1)
    try:
        batch.n_tokens = len(ids)
        for index, token in enumerate(ids):
            batch.token[index], batch.pos[index] = token, index
            batch.n_seq_id[index], batch.seq_id[index][0], batch.logits[index] = 1, 0, 1
        yield batch
    finally:
        llama_cpp.llama_batch_free(batch)


@llama_cpp.llama_log_callback
def _log(level: int, text: bytes, _data: ctypes.c_void_p) -> None:
    """Errors only: llama.cpp reports its progress on stderr."""
    if level == 4:
        click.echo(text.decode(errors="replace").rstrip(), err=True)


def quieten() -> None:
    """Starts llama.cpp with a log of errors only."""
    llama_cpp.llama_log_set(_log, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()


def perplexity(oracle: Oracle, text: str) -> float:
    """Perplexity as llama.cpp's own tool defines it.

    BOS and the text are tokenised once and cut every 256 tokens; the rest is dropped. In each chunk the first token is
    replaced by BOS, and tokens 129 to 255 are scored, each given all before it in the chunk.
    """
    ids = oracle.tokenize(text)
    losses = [_chunk_losses(oracle, ids[start : start + CHUNK]) for start in range(0, len(ids) - CHUNK + 1, CHUNK)]
    if not losses:
        raise ValueError(f"perplexity needs a text of at least {CHUNK} tokens, this one has {len(ids)}")
    return float(np.exp(np.mean(losses)))


def _chunk_losses(oracle: Oracle, chunk: list[int]) -> NDArray[np.float64]:
    logits = oracle.logits([oracle.bos, *chunk[1:]])[CHUNK // 2 : CHUNK - 1].astype(np.float64)
    targets = np.array(chunk[CHUNK // 2 + 1 :])
    peak = logits.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(logits - peak).sum(axis=1)) + peak[:, 0]
    return log_sum - logits[np.arange(len(targets)), targets]


@click.group()
def main() -> None:
    """Ask llama.cpp for its logits or its perplexity."""


_MODEL = click.Path(exists=True, dir_okay=False, path_type=Path)
_KV = click.option("--kv", type=click.Choice(list(KV_TYPES)), default="f32", show_default=True)


@main.command("logits")
@click.argument("model", type=_MODEL)
@click.argument("ids", type=_MODEL)
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@_KV
def logits_command(model: Path, ids: Path, out: Path, kv: str) -> None:
    """Write the logits after every id of IDS, a JSON list, to OUT."""
    sequence = json.loads(ids.read_text())
    with Oracle(model, len(sequence), kv) as oracle:
        np.savez_compressed(out, ids=np.array(sequence, np.int32), logits=oracle.logits(sequence))


@main.command("perplexity")
@click.argument("model", type=_MODEL)
@click.argument("text", type=_MODEL)
@_KV
def perplexity_command(model: Path, text: Path, kv: str) -> None:
    """Print the perplexity of MODEL on TEXT."""
    with Oracle(model, CHUNK, kv) as oracle:
        click.echo(f"{perplexity(oracle, text.read_text()):.4f}")


@main.command("golden")
@click.argument("models", nargs=-1, required=True, type=_MODEL)
@click.option("--as", "formats", multiple=True, help="First derive the model in this format; may be repeated.")
def golden_command(models: tuple[Path, ...], formats: tuple[str, ...]) -> None:
    """Write tests/golden/llama_cpp_<model>.npz, or llama_cpp_<model>-<format>.npz, for each of MODELS."""
    from tools.golden_logits import write_derived_golden, write_golden

    for model in models:
        if not formats:
            click.echo(write_golden(model, model.stem))
        for name in formats:
            click.echo(write_derived_golden(model, name))


if __name__ == "__main__":
    main()
