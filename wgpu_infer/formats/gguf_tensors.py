"""The tensor part of a GGUF header: names, shapes, types and places, all checked against the size of the file.

The rules are llama.cpp's: names of at most 63 bytes without repetition, at most 4 dimensions, rows of whole blocks, and
each tensor exactly where the one before it ends, padded to the file's alignment. So no tensor can overlap another or
lie outside the file. Sizes are computed in Python ints, which do not wrap. Stricter than llama.cpp: an empty name is
refused.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from wgpu_infer.formats.gguf_cursor import Cursor
from wgpu_infer.formats.gguf_types import (
    INT64_MAX,
    MAX_DIMS,
    MAX_NAME_BYTES,
    REMOVED_TENSOR_TYPES,
    TENSOR_TYPES,
    TensorType,
)


class TensorInfo(NamedTuple):
    """One tensor: `shape` in numpy order (out, in), the reverse of ggml's ne; blocks at `offset` of shard `shard`."""

    name: str
    shape: tuple[int, ...]
    format: str  # a name of gguf_types.TENSOR_TYPES, as "Q4_K"
    offset: int  # from the start of the file
    nbytes: int
    shard: int  # 0 unless the model is split over several files
    info_offset: int  # where the header describes it: for errors

    @property
    def num_elements(self) -> int:
        return math.prod(self.shape)


class _Header(NamedTuple):
    """A tensor's header as read: its offset still counts from the start of the data section."""

    name: str
    shape: tuple[int, ...]
    type: TensorType
    data_offset: int
    offset_field: int
    info_offset: int

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) // self.type.block_size * self.type.block_bytes


class DataSection(NamedTuple):
    """Where tensor data may lie: from `start` to `end`, and `padded_end` with the last tensor's padding."""

    start: int
    end: int
    padded_end: int


def read_tensors(cursor: Cursor, count: int, alignment: int, shard: int) -> tuple[dict[str, TensorInfo], DataSection]:
    """The `count` tensors described at the cursor, and the extent of their data."""
    headers: dict[str, _Header] = {}
    for index in range(count):
        start = cursor.pos
        header = _read_header(cursor, index)
        if header.name in headers:
            raise cursor.fault(f"tensor {header.name!r} occurs twice", start)
        headers[header.name] = header
    return _place(cursor, list(headers.values()), alignment, shard)


def _read_header(cursor: Cursor, index: int) -> _Header:
    start = cursor.pos
    name = cursor.name(f"name of tensor {index}", MAX_NAME_BYTES)
    what = f"tensor {name!r}"
    shape = _read_shape(cursor, what)
    tensor_type = _read_type(cursor, what)
    offset_field = cursor.pos
    data_offset = cursor.u64(f"offset of {what}")
    row = shape[-1] if shape else 1
    if row % tensor_type.block_size:
        raise cursor.fault(
            f"{what} has rows of {row} elements; {tensor_type.name} needs a multiple of {tensor_type.block_size}",
            start,
        )
    return _Header(name, shape, tensor_type, data_offset, offset_field, start)


def _read_shape(cursor: Cursor, what: str) -> tuple[int, ...]:
    """The shape, reversed into numpy order; () for no dimensions, a scalar."""
    start = cursor.pos
    dims = cursor.u32(f"number of dimensions of {what}")
    if dims > MAX_DIMS:
        raise cursor.fault(f"{what} has {dims} dimensions; at most {MAX_DIMS} are allowed", start)
    extents = [cursor.u64(f"shape of {what}") for _ in range(dims)]
    # Zero extents count as 1, so that also the other extents of an empty tensor make a shape that numpy accepts.
    if math.prod(max(extent, 1) for extent in extents) > INT64_MAX:
        raise cursor.fault(f"{what} has an impossible shape {extents}", start)
    return tuple(reversed(extents))


def _read_type(cursor: Cursor, what: str) -> TensorType:
    start = cursor.pos
    type_id = cursor.u32(f"type of {what}")
    tensor_type = TENSOR_TYPES.get(type_id)
    if tensor_type is None:
        removed = REMOVED_TENSOR_TYPES.get(type_id)
        known = f"is {removed}, which ggml has removed: convert the model anew" if removed else "is not known"
        raise cursor.fault(f"type {type_id} of {what} {known}", start)
    return tensor_type


def _place(
    cursor: Cursor, headers: list[_Header], alignment: int, shard: int
) -> tuple[dict[str, TensorInfo], DataSection]:
    """Absolute places; every tensor must begin where the one before it ends, padded."""
    start = _padded(cursor.pos, alignment)
    tensors: dict[str, TensorInfo] = {}
    expected = end = 0
    for header in headers:
        if header.data_offset != expected:
            raise cursor.fault(
                f"tensor {header.name!r} has data offset {header.data_offset}; it must begin at {expected}",
                header.offset_field,
            )
        nbytes = header.nbytes
        tensors[header.name] = TensorInfo(
            header.name, header.shape, header.type.name, start + expected, nbytes, shard, header.info_offset
        )
        end = expected + nbytes
        expected = _padded(end, alignment)
    return tensors, DataSection(start, start + end, start + expected)


def _padded(value: int, alignment: int) -> int:
    return -(-value // alignment) * alignment
