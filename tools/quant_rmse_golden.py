"""Writes tests/golden/quant_rmse.json: the error of llama.cpp's quantisers on synthetic weights, to judge ours by.

    python tools/quant_rmse_golden.py [OUT.json]

Needs llama-cpp-python (the extra `peer`), whose ggml library quantises without importance matrix; the `gguf` package
reads the blocks back. The file keeps the root mean square of each tensor beside the errors, so that a test notices
should the random numbers ever come out differently.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path

import gguf
import numpy as np

OUT = Path(__file__).resolve().parent.parent / "tests" / "golden" / "quant_rmse.json"
FORMATS = ["F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"]
SHAPE = (128, 512)


def sample_weights() -> dict[str, np.ndarray]:
    """Tensors (128, 512) float32 with distributions that weights have. RandomState: its stream is frozen for good."""
    rng = np.random.RandomState(20)
    strong_columns = np.where(rng.random_sample(SHAPE[1]) < 0.02, 15, 1)
    tensors = {
        "gaussian": 0.02 * rng.standard_normal(SHAPE),
        "heavy-tailed": 0.02 * rng.standard_t(3, SHAPE),
        "laplace": rng.laplace(0, 0.02, SHAPE),
        "strong columns": 0.02 * rng.standard_normal(SHAPE) * strong_columns,
        "rows of very different size": rng.standard_normal(SHAPE) * np.logspace(-4, 1, SHAPE[0])[:, None],
        "mostly zero": rng.standard_normal(SHAPE) * (rng.random_sample(SHAPE) < 0.1),
        "all positive": rng.uniform(0.5, 1.0, SHAPE),
        "all negative": rng.uniform(-1.0, -0.9, SHAPE),
    }
    return {name: tensor.astype(np.float32) for name, tensor in tensors.items()}


def load_ggml() -> ctypes.CDLL:
    """ggml's base library out of the installed llama_cpp package."""
    import llama_cpp

    package = Path(llama_cpp.__file__).parent
    found = sorted(path for path in package.rglob("*ggml-base*") if path.suffix in {".so", ".dylib", ".dll"})
    if not found:
        raise FileNotFoundError(f"no ggml-base library in {package}")
    library = ctypes.CDLL(str(found[0]))
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    pointer, size = ctypes.c_void_p, ctypes.c_int64
    library.ggml_quantize_chunk.argtypes = [ctypes.c_int, pointer, pointer, size, size, size, pointer]
    return library


def quantize_by_llama_cpp(ggml: ctypes.CDLL, x: np.ndarray, name: str) -> np.ndarray:
    """float32 (rows, columns) -> the blocks llama.cpp writes, uint8 (rows, bytes), without importance matrix."""
    kind = gguf.GGMLQuantizationType[name]
    x = np.ascontiguousarray(x, np.float32)
    blocks = np.zeros(gguf.quant_shape_to_byte_shape(x.shape, kind), np.uint8)
    written = ggml.ggml_quantize_chunk(kind.value, x.ctypes.data, blocks.ctypes.data, 0, *x.shape, None)
    if written != blocks.size:
        raise RuntimeError(f"ggml wrote {written} bytes of {name} instead of {blocks.size}")
    return blocks


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


def rms_error(x: np.ndarray, blocks: np.ndarray, name: str) -> float:
    """Root mean square of what the blocks, read by the gguf package, differ from x (rows, columns)."""
    back = gguf.quants.dequantize(blocks.reshape(len(x), -1), gguf.GGMLQuantizationType[name])
    return rms(back.astype(np.float64) - x)


def golden() -> dict[str, dict[str, float]]:
    """Per tensor its own root mean square and llama.cpp's error in every format."""
    ggml = load_ggml()
    return {
        title: {"rms": rms(x)} | {name: rms_error(x, quantize_by_llama_cpp(ggml, x, name), name) for name in FORMATS}
        for title, x in sample_weights().items()
    }


if __name__ == "__main__":
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    out.write_text(json.dumps(golden(), indent=1) + "\n")
    print(f"wrote {out}")
