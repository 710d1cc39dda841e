"""What the CPU backend's handles hold, and how they become the arguments of a numba twin."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wgpu_infer.backends.base import KV, Array, Handle, Weight
from wgpu_infer.contracts.contract import Op
from wgpu_infer.errors import OutOfMemoryError, ParameterError
from wgpu_infer.formats import quants

MAX_VIEWS = 64  # shapes kept per array; prompts of ever new lengths start over
DTYPES = {"f32": np.dtype(np.float32), "u32": np.dtype(np.uint32)}


@dataclass(eq=False)
class Buffer:
    """A flat array and the shaped views of its beginning that ops have asked for."""

    flat: np.ndarray
    views: dict[tuple[int, ...], np.ndarray] = field(default_factory=dict)

    def view(self, shape: tuple[int, ...]) -> np.ndarray:
        found = self.views.get(shape)
        return self._new_view(shape) if found is None else found

    def _new_view(self, shape: tuple[int, ...]) -> np.ndarray:
        size = math.prod(shape)
        if size > self.flat.size or min(shape, default=0) < 0:
            raise TypeError(f"an operand of shape {shape} was asked of an array of {self.flat.size} elements")
        if len(self.views) >= MAX_VIEWS:
            self.views.clear()
        self.views[shape] = self.flat[:size].reshape(shape)
        return self.views[shape]


@dataclass(eq=False)
class Blocks:
    """A weight's raw GGUF blocks, read-only uint8 (bytes,), and their ggml type id."""

    data: np.ndarray
    kind: int


@dataclass(eq=False)
class Pages:
    """K and V pages as the twins read them: (pages, kv_heads, 64, row) of float32, float16 bits or Q8_0 bytes."""

    k: np.ndarray
    v: np.ndarray


def zeros(shape: tuple[int, ...], dtype: Any, what: str) -> np.ndarray:
    try:
        return np.zeros(shape, dtype)
    except MemoryError as error:
        need = math.prod(shape) * np.dtype(dtype).itemsize
        raise OutOfMemoryError(f"{what or 'an array'} takes {need >> 20} MiB, more than there is") from error


def raw_blocks(data: np.ndarray) -> np.ndarray:
    """data of any shape and item type as flat read-only bytes, where they lie (moved if floats would be misaligned)."""
    flat = np.asarray(np.ascontiguousarray(data)).reshape(-1).view(np.uint8).view(np.ndarray)
    blocks = flat.copy() if flat.ctypes.data % 4 else flat.view()
    blocks.flags.writeable = False
    return blocks


Convert = Callable[[np.ndarray], np.ndarray]
# KV type -> (values to pages' items, pages' items to values); both keep the last axis as the row.
STORAGE: dict[str, tuple[Convert, Convert]] = {
    "f32": (lambda values: values, lambda pages: pages.copy()),
    "f16": (lambda values: values.view(np.uint16), lambda pages: pages.view(np.float16).copy()),
    "q8_0": (
        lambda values: quants.quantize(values, "Q8_0").reshape(*values.shape[:-1], -1),
        lambda pages: quants.dequantize(pages, "Q8_0", (*pages.shape[:-1], pages.shape[-1] // 34 * 32)),
    ),
}


def lower(
    op: Op, operands: tuple[Handle, ...], shapes: list[tuple[int, ...]], params: Mapping[str, Any]
) -> tuple[list[Any], int]:
    """The twin's arguments up to the parameters, in the order of `lower_cpu(op)`, and about how many items it reads."""
    out: list[Any] = []
    items, index = 0, None
    for spec, value, shape in zip(op.operands, operands, shapes, strict=True):
        if isinstance(value, Array):
            if value.dtype != DTYPES[spec.dtype]:
                raise TypeError(f"{op.name}: operand {spec.name} must be {spec.dtype}, not {value.dtype}")
            out.append(value.payload.view(shape))
            items += out[-1].size
            index = out[-1] if spec.kind == "index" else index
        elif isinstance(value, Weight):
            agree(op, params, rows=value.rows, cols=value.cols)
            out += (value.payload.data, value.payload.kind)
            items += value.payload.data.size if index is None else 0  # by an index, a few rows are read
        else:
            agree(op, params, kv_heads=value.kv_heads, head_dim=value.head_dim, table_width=value.table.shape[1])
            out += (value.payload.k, value.payload.v, value.table.payload.view(value.table.shape))
            items += past_items(index, value) if spec.access == "r" else 0
    return out, items


def past_items(index: np.ndarray | None, kv: KV) -> int:
    """At most how many items of K and V the tokens of the index see."""
    return 0 if index is None else 2 * len(index) * (int(index[:, 2].max()) + 1) * kv.kv_heads * kv.head_dim


def agree(op: Op, params: Mapping[str, Any], **sizes: int) -> None:
    for name, size in sizes.items():
        if params[name] != size:
            raise TypeError(f"{op.name}: {name}={params[name]}, but the operand's is {size}")


def refusal(op: Op, status: int, operands: tuple[Handle, ...]) -> Exception:
    """The error for a twin's result that is not 0: see cpu_fallback/__init__.py."""
    if status < 0:
        return TypeError(f"{op.name}: its parameters contradict each other")
    rows = next(value.payload.flat for spec, value in zip(op.operands, operands, strict=True) if spec.kind == "index")
    token, sequence, position, output = rows[4 * status - 4 : 4 * status]
    return ParameterError(
        f"{op.name}: index row {status - 1} points outside its operand: "
        f"id {token}, sequence {sequence}, position {position}, output row {output}"
    )
