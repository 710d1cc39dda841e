"""Weights as the shaders read them: GGUF blocks rearranged into 16-byte codes and, for some formats, separate scales.

Nothing is widened and nothing is lost: `unpack` gives back the file's bytes. A block's fields are cut in two by the
table below: those of `codes`, whose bytes follow each other block after block and make whole vec4<u32>, and those of
`scales`, padded to a power of two of bytes or to whole words and packed into u32. Formats whose blocks are whole
vec4<u32> already, and the dense ones, have codes only. Where blocks of 32 columns share bytes, their bits are moved
apart (pack_bits.py). Rows of dense formats are padded with zeros to a multiple of 32 columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from wgpu_infer.backends.webgpu.pack_bits import bits, bits_back, nibbles, pairs
from wgpu_infer.contracts.host import HostWeight
from wgpu_infer.formats import quants

BLOCK_COLS = 32  # columns per block of the shaders, whatever the format's own block is


class Move(NamedTuple):
    """How a field's bits are rearranged (pack_bits.py), and back."""

    there: Callable[[np.ndarray], np.ndarray]
    back: Callable[[np.ndarray], np.ndarray]


NIBBLES, PAIRS, BITS = Move(nibbles, nibbles), Move(pairs, pairs), Move(bits, bits_back)


@dataclass(frozen=True)
class Layout:
    """Which fields of a block go where, the bytes that a block's scales take, and fields whose bits are rearranged."""

    codes: tuple[str, ...]
    scales: tuple[str, ...] = ()
    scale_bytes: int = 0
    moved: Mapping[str, Move] = field(default_factory=dict)


LAYOUTS: dict[str, Layout] = {
    "F32": Layout(("x",)),
    "F16": Layout(("x",)),
    "BF16": Layout(("x",)),
    "Q8_0": Layout(("qs",), ("d",), 2),
    "Q4_0": Layout(("qs",), ("d",), 2),
    "Q4_1": Layout(("qs",), ("d", "m"), 4),
    "Q5_0": Layout(("qs",), ("qh", "d"), 8),
    "Q5_1": Layout(("qs",), ("qh", "d", "m"), 8),
    "IQ4_NL": Layout(("qs",), ("d",), 2),
    "IQ4_XS": Layout(("qs",), ("d", "scales_h", "scales_l"), 8),
    "MXFP4": Layout(("qs",), ("e",), 1),
    "Q2_K": Layout(("qs",), ("scales", "d", "dmin"), 20, {"qs": PAIRS}),
    "Q3_K": Layout(("qs",), ("hmask", "scales", "d"), 48, {"qs": PAIRS, "hmask": BITS}),
    "Q4_K": Layout(("d", "dmin", "scales", "qs"), moved={"qs": NIBBLES}),
    "Q5_K": Layout(("d", "dmin", "scales", "qh", "qs"), moved={"qs": NIBBLES, "qh": BITS}),
    "Q6_K": Layout(("ql", "qh", "scales"), ("d",), 2, {"ql": NIBBLES, "qh": PAIRS}),
}


@dataclass(frozen=True)
class Packed:
    """`codes` (a multiple of 4) and `scales` as uint32; scales are empty where the format keeps none apart."""

    codes: np.ndarray
    scales: np.ndarray


def is_dense(fmt: str) -> bool:
    return quants.get_format(fmt).block_size == 1


def padded_cols(fmt: str, cols: int) -> int:
    return -(-cols // BLOCK_COLS) * BLOCK_COLS if is_dense(fmt) else cols


def row_code_bytes(fmt: str, cols: int) -> int:
    """Bytes of codes of one row."""
    f = quants.get_format(fmt)
    per_block = sum(f.dtype[name].itemsize for name in LAYOUTS[fmt].codes)
    return padded_cols(fmt, cols) // f.block_size * per_block


def row_scale_bytes(fmt: str, cols: int) -> int:
    return cols // quants.get_format(fmt).block_size * LAYOUTS[fmt].scale_bytes


def pack(host: HostWeight) -> Packed:
    """The rows of `host` as the shaders read them; a view of its data where nothing moves."""
    f = quants.get_format(host.format)
    layout = LAYOUTS[host.format]
    if is_dense(host.format):
        return Packed(pad_rows(host).view(np.uint32), np.empty(0, np.uint32))
    blocks = host.data.reshape(-1, f.block_bytes)
    codes = take_fields(blocks, f.dtype, layout.codes, layout.moved, 0)
    if not layout.scales:
        return Packed(codes.reshape(-1).view(np.uint32), np.empty(0, np.uint32))
    scales = take_fields(blocks, f.dtype, layout.scales, layout.moved, layout.scale_bytes).reshape(-1)
    scales = np.pad(scales, (0, -scales.size % 4))
    return Packed(codes.reshape(-1).view(np.uint32), scales.view(np.uint32))


def unpack(packed: Packed, fmt: str, rows: int, cols: int) -> HostWeight:
    """The inverse of `pack`, to the last bit."""
    f = quants.get_format(fmt)
    layout = LAYOUTS[fmt]
    codes = packed.codes.view(np.uint8)
    if is_dense(fmt):
        data = codes.reshape(rows, -1)[:, : cols * f.block_bytes]
        return HostWeight(np.ascontiguousarray(data).reshape(-1), fmt, rows, cols)
    count = rows * cols // f.block_size
    blocks = np.zeros((count, f.block_bytes), np.uint8)
    put_fields(blocks, f.dtype, layout.codes, layout.moved, codes.reshape(count, -1))
    if layout.scales:
        scales = packed.scales.view(np.uint8)[: count * layout.scale_bytes]
        put_fields(blocks, f.dtype, layout.scales, layout.moved, scales.reshape(count, -1))
    return HostWeight(blocks.reshape(-1), fmt, rows, cols)


def pad_rows(host: HostWeight) -> np.ndarray:
    """uint8 rows of whole blocks of 32 columns."""
    size = quants.get_format(host.format).block_bytes
    padded = padded_cols(host.format, host.cols)
    rows = host.data.reshape(host.rows, host.cols * size)
    if padded != host.cols:
        rows = np.pad(rows, ((0, 0), (0, (padded - host.cols) * size)))
    return rows.reshape(-1)


def span(dtype: np.dtype, name: str) -> slice:
    """The bytes of the named field in a block."""
    fields: Any = dtype.fields
    kind, start = fields[name][:2]
    return slice(start, start + kind.itemsize)


def take_fields(
    blocks: np.ndarray, dtype: np.dtype, names: tuple[str, ...], moved: Mapping[str, Move], width: int
) -> np.ndarray:
    """(n, block bytes) -> the named fields' bytes side by side, zero padded to `width`."""
    parts = [blocks[:, span(dtype, name)] for name in names]
    parts = [moved[name].there(part) if name in moved else part for name, part in zip(names, parts, strict=True)]
    taken = np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]
    return np.ascontiguousarray(np.pad(taken, ((0, 0), (0, max(0, width - taken.shape[1])))))


def put_fields(
    blocks: np.ndarray, dtype: np.dtype, names: tuple[str, ...], moved: Mapping[str, Move], values: np.ndarray
) -> None:
    start = 0
    for name in names:
        place = span(dtype, name)
        part = values[:, start : start + place.stop - place.start]
        blocks[:, place] = moved[name].back(part) if name in moved else part
        start += place.stop - place.start
