"""A streaming GGUF writer: metadata and the tensor table first, then the tensors' bytes in order, a chunk at a time.

Guarantees: version 3, little-endian, every tensor at a multiple of 32 bytes; memory does not grow with the tensors; a
tensor that got too few or too many bytes is an error, and the file appears under its name only once it is complete.
Leaves out: split files, and metadata types that nobody here writes.

Source of the layout: the GGUF specification (ggml/docs/gguf.md).
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from wgpu_infer.formats.quants import get_format, row_bytes

ALIGNMENT = 32


class TensorInfo(NamedTuple):
    """A tensor to write; `shape` is numpy's, (rows, columns), which the file holds reversed."""

    name: str
    shape: tuple[int, ...]
    format: str

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape[:-1]) * row_bytes(self.format, self.shape[-1])


def write_gguf(
    path: str | os.PathLike[str],
    metadata: Mapping[str, Any],
    tensors: Sequence[TensorInfo],
    chunks_of: Iterable[Iterable[bytes | np.ndarray]],
) -> None:
    """Writes a file of `tensors`, whose bytes the n-th element of `chunks_of` yields.

    Metadata values may be str, bool, int (UINT32), float (FLOAT32), a numpy scalar (its own type), a list of str or a
    one-dimensional numpy array.
    """
    partial = Path(f"{os.fspath(path)}.partial")
    try:
        with open(partial, "wb") as file:
            file.write(_header(metadata, tensors))
            for info, chunks in zip(tensors, chunks_of, strict=True):
                _pad(file)
                _write_tensor(file, info, chunks)
            _pad(file)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _write_tensor(file: BinaryIO, info: TensorInfo, chunks: Iterable[bytes | np.ndarray]) -> None:
    written = sum(file.write(memoryview(chunk).cast("B")) for chunk in chunks)
    if written != info.nbytes:
        raise ValueError(f"tensor {info.name} takes {info.nbytes} bytes, but {written} were given")


def _pad(file: BinaryIO) -> None:
    file.write(bytes(-file.tell() % ALIGNMENT))


def _header(metadata: Mapping[str, Any], tensors: Sequence[TensorInfo]) -> bytes:
    parts = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(metadata))]
    for key, value in metadata.items():
        parts += [_string(key), _value(value)]
    offset = 0
    for info in tensors:
        dims = info.shape[::-1]
        parts += [_string(info.name), struct.pack(f"<I{len(dims)}Q", len(dims), *dims)]
        parts += [struct.pack("<IQ", get_format(info.format).ggml_type, offset)]
        offset += info.nbytes + -info.nbytes % ALIGNMENT
    return b"".join(parts)


_ARRAY, _STRING = 9, 8
_NUMPY_TYPES = {"u1": 0, "i1": 1, "u2": 2, "i2": 3, "u4": 4, "i4": 5, "f4": 6, "b1": 7, "u8": 10, "i8": 11, "f8": 12}
_PYTHON_TYPES: tuple[tuple[type, type], ...] = ((bool, np.bool_), (int, np.uint32), (float, np.float32))


def _string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _value(value: Any) -> bytes:
    """Type id and content of a metadata value."""
    if isinstance(value, str):
        return struct.pack("<I", _STRING) + _string(value)
    if isinstance(value, list):
        return struct.pack("<IIQ", _ARRAY, _STRING, len(value)) + b"".join(map(_string, value))
    for python_type, numpy_type in _PYTHON_TYPES:
        if isinstance(value, python_type) and not isinstance(value, np.generic):
            value = numpy_type(value)
            break
    array = np.asarray(value)
    element = _NUMPY_TYPES[f"{array.dtype.kind}{array.dtype.itemsize}"]
    little = array.astype(array.dtype.newbyteorder("<")).tobytes()
    return struct.pack("<I", element) + little if array.ndim == 0 else _array(element, len(array), little)


def _array(element: int, count: int, content: bytes) -> bytes:
    return struct.pack("<IIQ", _ARRAY, element, count) + content
