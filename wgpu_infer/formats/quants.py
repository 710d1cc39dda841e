"""The weight formats as a table, and conversion between raw GGUF blocks and float32 in numpy.

One row per format says how large a block is, how its bytes are laid out and which functions read and write it;
everything else asks the table. Reading equals ggml to the last bit for all sixteen formats. Writing covers those with
a `quantize` entry; the rest raise UnsupportedError. Both directions work in chunks that fit a core's cache, so memory
beyond input and output stays at a few megabytes whatever the tensor's size. None of this is made for the speed of
inference: the backends compute on the blocks themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from wgpu_infer.errors import ParameterError, UnsupportedError
from wgpu_infer.formats import dequant, dequant_k, quantize_k
from wgpu_infer.formats import quantize as quantize_plain
from wgpu_infer.formats.blocks import LAYOUTS, Bytes, Floats
from wgpu_infer.formats.gguf_types import TENSOR_TYPES_BY_NAME

_CHUNK = 1 << 16  # values converted at a time
_LARGEST = 1e9  # above any block format's range, and its square still fits float32


@dataclass(frozen=True)
class Format:
    """A weight format: names and ids as in ggml, sizes of one block, its layout and its conversions.

    `block_size` is in values, `block_bytes` in bytes; `dtype` is the structured type of one block. `dequantize` maps
    uint8 (n, block_bytes) to float32 (n, block_size), `quantize` the other way, or is None where we cannot write it.
    """

    name: str
    ggml_type: int
    block_size: int
    block_bytes: int
    dtype: np.dtype
    dequantize: Callable[[Bytes], Floats]
    quantize: Callable[[Floats], Bytes] | None


_CONVERSIONS: dict[str, tuple[Callable[[Bytes], Floats], Callable[[Floats], Bytes] | None]] = {
    "F32": (dequant.dequantize_f32, quantize_plain.quantize_f32),
    "F16": (dequant.dequantize_f16, quantize_plain.quantize_f16),
    "BF16": (dequant.dequantize_bf16, quantize_plain.quantize_bf16),
    "Q4_0": (dequant.dequantize_q4_0, quantize_plain.quantize_q4_0),
    "Q4_1": (dequant.dequantize_q4_1, quantize_plain.quantize_q4_1),
    "Q5_0": (dequant.dequantize_q5_0, quantize_plain.quantize_q5_0),
    "Q5_1": (dequant.dequantize_q5_1, quantize_plain.quantize_q5_1),
    "Q8_0": (dequant.dequantize_q8_0, quantize_plain.quantize_q8_0),
    "Q2_K": (dequant_k.dequantize_q2_k, None),
    "Q3_K": (dequant_k.dequantize_q3_k, None),
    "Q4_K": (dequant_k.dequantize_q4_k, quantize_k.quantize_q4_k),
    "Q5_K": (dequant_k.dequantize_q5_k, quantize_k.quantize_q5_k),
    "Q6_K": (dequant_k.dequantize_q6_k, quantize_k.quantize_q6_k),
    "IQ4_NL": (dequant.dequantize_iq4_nl, None),
    "IQ4_XS": (dequant_k.dequantize_iq4_xs, None),
    "MXFP4": (dequant.dequantize_mxfp4, None),
}


def _row(name: str) -> Format:
    sizes = TENSOR_TYPES_BY_NAME[name]
    return Format(name, sizes.ggml_type, sizes.block_size, sizes.block_bytes, LAYOUTS[name], *_CONVERSIONS[name])


FORMATS: dict[str, Format] = {name: _row(name) for name in _CONVERSIONS}


def get_format(name: str) -> Format:
    """The row of a format; raises UnsupportedError for a name that is not in the table."""
    if name not in FORMATS:
        raise UnsupportedError(f"weight format {name} is not supported; known formats: {', '.join(FORMATS)}")
    return FORMATS[name]


def row_bytes(name: str, columns: int) -> int:
    """Bytes of one row of `columns` values; raises ParameterError if they do not fill whole blocks."""
    row = get_format(name)
    if columns % row.block_size:
        raise ParameterError(f"a row of {columns} values is not a multiple of {name}'s block of {row.block_size}")
    return columns // row.block_size * row.block_bytes


def dequantize(data: ArrayLike, name: str, shape: tuple[int, ...]) -> Floats:
    """Raw GGUF blocks to float32 of `shape`, whose last axis is the row; usually (rows, columns).

    `data` holds the blocks of the whole tensor, row after row, as an array of any shape and item type.
    """
    row = get_format(name)
    expected = math.prod(shape[:-1]) * row_bytes(name, shape[-1])
    raw = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
    if raw.size != expected:
        raise ParameterError(f"{name} data of shape {tuple(shape)} takes {expected} bytes, not {raw.size}")
    blocks = raw.reshape(-1, row.block_bytes)
    values = np.empty((len(blocks), row.block_size), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # a file may hold infinite scales; 0 * inf is NaN, as in ggml
        for part in _chunks(row, len(blocks)):
            values[part] = row.dequantize(blocks[part])
    return values.reshape(shape)


def quantize(x: ArrayLike, name: str) -> Bytes:
    """Floats (rows, columns) to the raw GGUF blocks of `name`, uint8 (bytes,), row after row.

    Raises UnsupportedError where we cannot write the format, ParameterError where columns do not fill whole blocks, or
    a block format is given values that are not finite or too large for its float16 scale.
    """
    row = get_format(name)
    if row.quantize is None:
        writable = ", ".join(each.name for each in FORMATS.values() if each.quantize)
        raise UnsupportedError(f"quantising to {name} is not supported; formats that can be written: {writable}")
    x = np.asarray(x)
    row_bytes(name, x.shape[-1])
    values = x.reshape(-1, row.block_size)
    blocks = np.empty((len(values), row.block_bytes), np.uint8)
    for part in _chunks(row, len(values)):
        chunk = values[part].astype(np.float32, copy=False)
        if row.block_size > 1:
            _check_range(chunk, name)
        blocks[part] = row.quantize(chunk)
    return blocks.reshape(-1)


def _chunks(row: Format, blocks: int) -> list[slice]:
    step = max(1, _CHUNK // row.block_size)
    return [slice(start, start + step) for start in range(0, blocks, step)]


def _check_range(x: Floats, name: str) -> None:
    peak = np.abs(x).max()
    if not peak <= _LARGEST:
        raise ParameterError(f"{name} holds finite weights of moderate size; the largest magnitude given is {peak}")
