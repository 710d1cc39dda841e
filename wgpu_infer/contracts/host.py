"""Operands as plain numpy values: what references compute on and what cases are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wgpu_infer.contracts.contract import PAGE_SLOTS
from wgpu_infer.errors import ParameterError
from wgpu_infer.formats import quants

KV_DTYPES = ("f16", "f32", "q8_0")


@dataclass(frozen=True)
class HostWeight:
    """A weight as its raw GGUF blocks: `data` is uint8, row after row; `rows` outputs by `cols` inputs."""

    data: np.ndarray
    format: str
    rows: int
    cols: int

    @property
    def nbytes(self) -> int:
        return self.data.nbytes

    def values(self) -> np.ndarray:
        """float32 (rows, cols)."""
        return quants.dequantize(self.data, self.format, (self.rows, self.cols))

    def row_values(self, rows: np.ndarray) -> np.ndarray:
        """float32 (len(rows), cols) of the named rows only."""
        blocks = self.data.reshape(self.rows, -1)[rows]
        return quants.dequantize(np.ascontiguousarray(blocks).reshape(-1), self.format, (len(rows), self.cols))

    def slice_rows(self, start: int, stop: int) -> HostWeight:
        part = self.data.reshape(self.rows, -1)[start:stop].reshape(-1)
        return HostWeight(part, self.format, stop - start, self.cols)

    def slice_values(self, start: int, stop: int) -> HostWeight:
        """Elements start..stop of a one-row weight, as float32."""
        part = np.ascontiguousarray(self.values().reshape(-1)[start:stop])
        return HostWeight(part.view(np.uint8), "F32", 1, stop - start)


@dataclass(frozen=True)
class HostStack:
    """Weights of one format and one input, below each other as one weight. Nothing is copied but the rows asked for."""

    parts: tuple[HostWeight, ...]

    @property
    def format(self) -> str:
        return self.parts[0].format

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)

    @property
    def cols(self) -> int:
        return self.parts[0].cols

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in self.parts)

    def values(self) -> np.ndarray:
        return np.concatenate([part.values() for part in self.parts])

    def slice_rows(self, start: int, stop: int) -> HostWeight:
        pieces, first = [], 0
        for part in self.parts:
            low, high = max(start - first, 0), min(stop - first, part.rows)
            if low < high:
                pieces.append(part.slice_rows(low, high))
            first += part.rows
        data = pieces[0].data if len(pieces) == 1 else np.concatenate([piece.data for piece in pieces])
        return HostWeight(data, self.format, stop - start, self.cols)


HostRows = HostWeight | HostStack

ACT8_BLOCK = 32
SMALLEST_SCALE = np.finfo(np.float32).tiny


@dataclass
class HostAct8:
    """Activations rounded to int8: codes (rows, cols), scales float32 (rows, cols / 32); value = scale · code.

    scale = max|x| / 127 of its block, code = x / scale rounded half to even; a scale below the smallest normal number
    is 0 (GPUs may take it for that), and so are its codes.
    """

    codes: np.ndarray
    scales: np.ndarray

    @classmethod
    def zeros(cls, rows: int, cols: int) -> HostAct8:
        return cls(np.zeros((rows, cols), np.int8), np.zeros((rows, cols // ACT8_BLOCK), np.float32))

    @classmethod
    def of(cls, x: np.ndarray) -> HostAct8:
        """x (rows, cols) float32, cols a multiple of 32."""
        blocks = np.asarray(x, np.float32).reshape(*x.shape[:-1], -1, ACT8_BLOCK)
        scales = np.abs(blocks).max(axis=-1) / np.float32(127)
        scales[scales < SMALLEST_SCALE] = 0
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            inverse = np.where(scales > 0, np.float32(1) / scales, np.float32(0))
            codes = np.clip(np.nan_to_num(np.rint(blocks * inverse[..., None])), -127, 127).astype(np.int8)
        return cls(codes.reshape(x.shape), scales)

    def assign(self, values: HostAct8) -> None:
        self.codes[...], self.scales[...] = values.codes, values.scales

    def copy(self) -> HostAct8:
        return HostAct8(self.codes.copy(), self.scales.copy())

    @property
    def shape(self) -> tuple[int, int]:
        return self.codes.shape[0], self.codes.shape[1]

    @property
    def sums(self) -> np.ndarray:
        """int16 (rows, cols / 32, 2): of a block's first and second 16 codes."""
        return self.codes.reshape(len(self.codes), -1, 2, 16).sum(axis=-1, dtype=np.int16)

    def values(self) -> np.ndarray:
        """float64 (rows, cols), exact; a block whose scale is not finite is NaN."""
        scales = np.where(np.isfinite(self.scales), self.scales, np.nan).astype(np.float64)
        return self.codes * np.repeat(scales, ACT8_BLOCK, axis=1)


@dataclass
class HostKV:
    """K and V pages as (pages, kv_heads, 64, head_dim) and the block table (sequences, pages a sequence) of uint32.

    `dtype` is the storage type: f16 and f32 pages hold numpy float16 / float32; q8_0 pages hold float32 values that
    have been rounded to blocks of 32 int8 codes with one f16 scale.
    """

    k: np.ndarray
    v: np.ndarray
    table: np.ndarray
    dtype: str

    @classmethod
    def zeros(cls, pages: int, kv_heads: int, head_dim: int, table: np.ndarray, dtype: str) -> HostKV:
        check_kv(dtype, head_dim)
        shape = (pages, kv_heads, PAGE_SLOTS, head_dim)
        kind = np.float16 if dtype == "f16" else np.float32
        return cls(np.zeros(shape, kind), np.zeros(shape, kind), table, dtype)

    def stored(self, x: np.ndarray) -> np.ndarray:
        """x (…, head_dim) as this cache would hold it."""
        if self.dtype != "q8_0":
            return x.astype(self.k.dtype)
        rows = np.ascontiguousarray(x, np.float32).reshape(-1, x.shape[-1])
        return quants.dequantize(quants.quantize(rows, "Q8_0"), "Q8_0", rows.shape).reshape(x.shape)

    def slots(self, sequence: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        """(page, slot) of positions 0..length-1 of a sequence."""
        positions = np.arange(length)
        return self.table[sequence, positions // PAGE_SLOTS], positions % PAGE_SLOTS


def check_kv(dtype: str, head_dim: int) -> None:
    if dtype not in KV_DTYPES:
        raise ParameterError(f"kv={dtype!r} is not a KV cache type; allowed: {', '.join(KV_DTYPES)}")
    if dtype == "q8_0" and head_dim % 32:
        raise ParameterError(f"kv='q8_0' needs a head dimension that is a multiple of 32, this model has {head_dim}")
