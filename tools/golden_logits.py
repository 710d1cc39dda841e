"""Golden files of llama.cpp's logits: small, committed, and good for tests on machines without llama.cpp.

Each holds the logits at some positions of a fixed text under one model file. Written by `llama_cpp_oracle.py golden`.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wgpu_infer.formats.gguf import GGUF

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "golden"
MAX_BYTES = 1 << 16  # of logits in one file
IDS = 96
# Positions whose logits are kept: dense at the start and around 64, where the second page of a KV cache begins.
POSITIONS = (0, 1, 2, 3, 7, 15, 23, 31, 39, 47, 55, 62, 63, 64, 79, 95)
TEXT = """Once upon a time, there was a little girl named Lily. She had a red ball and a small brown dog. One day
they went to the park to play. The dog ran after the ball and it rolled into the pond. Lily was sad, but a kind man
helped her to get it out. "Thank you," said Lily, and she gave him a big smile. Then they all sat down under a tree,
ate some bread and watched the birds. When the sun went down, Lily and her dog walked home, and her mother asked: "Did
you have a good day?" """


class Golden(NamedTuple):
    """llama.cpp's logits with an f32 KV cache.

    ids int32 (96,); positions int32 (n,), fewer for a large vocabulary; logits float32 (n, vocab). `weights` is the
    SHA-256 of the model's tensor data: it tells a changed model, which needs new golden files, from a wrong result.
    """

    ids: NDArray[np.int32]
    positions: NDArray[np.int32]
    logits: NDArray[np.float32]
    weights: str
    llama_cpp: str  # version of the binding that computed them


def golden_path(name: str) -> Path:
    return FOLDER / f"llama_cpp_{name}.npz"


def read_golden(name: str) -> Golden:
    """The golden file of a model by its name, as in `stories260K-Q4_0`."""
    with np.load(golden_path(name)) as file:
        arrays = {key: file[key] for key in Golden._fields}
    return Golden(**(arrays | {key: str(arrays[key]) for key in ("weights", "llama_cpp")}))


def write_golden(model: str | os.PathLike[str], name: str) -> Path:
    """Asks llama.cpp for the logits of a model file and writes its golden file; needs llama-cpp-python."""
    import llama_cpp

    from tools.llama_cpp_oracle import Oracle

    with Oracle(model, IDS) as oracle:
        ids = oracle.tokenize(TEXT)[:IDS]
        step = -(-len(POSITIONS) * oracle.vocab * 4 // MAX_BYTES)
        positions = POSITIONS[::-step][::-1]
        logits = oracle.logits(ids)[list(positions)]
    golden = Golden(
        np.array(ids, np.int32), np.array(positions, np.int32), logits, hash_weights(model), llama_cpp.__version__
    )
    np.savez_compressed(golden_path(name), **golden._asdict())
    return golden_path(name)


def write_derived_golden(model: Path, format: str) -> Path:
    """The golden file of `model` with its matrices in `format`, as tools/quantize_gguf.py derives it."""
    from tools.quantize_gguf import quantize_gguf

    with tempfile.TemporaryDirectory() as folder:
        derived = Path(folder) / "derived.gguf"
        quantize_gguf(model, derived, format)
        return write_golden(derived, f"{model.stem}-{format}")


def hash_weights(model: str | os.PathLike[str]) -> str:
    """SHA-256 of the raw data of all tensors, in the order of their names."""
    digest = hashlib.sha256()
    with GGUF.open(model) as file:
        for name in sorted(file.tensors):
            digest.update(file.data(name).tobytes())
    return digest.hexdigest()
