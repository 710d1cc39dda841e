"""The key-value part of a GGUF file: validated when the file is opened, decoded when a value is first asked for.

Opening walks over every key and value, so each lies wholly in the file; it copies nothing but the keys. A vocabulary
of 150,000 tokens therefore costs its walk when a model is opened, and its strings only when a tokenizer is built from
them.

Values: int, float, bool and str; arrays of numbers and of bools are read-only numpy arrays, arrays of strings lists.
Bytes of a string that are not UTF-8 appear escaped as `\\xff`. A bool is true for any byte but 0, as in llama.cpp.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from wgpu_infer.formats.gguf_cursor import Cursor
from wgpu_infer.formats.gguf_types import ARRAY_TYPE, MAX_KEY_BYTES, VALUE_TYPES, ValueType


class Entry(NamedTuple):
    """Where a value lies: `offset` to `end`, without its type and count fields. `size` is None for a single value."""

    key_offset: int
    type: ValueType
    size: int | None
    offset: int
    end: int

    @property
    def type_name(self) -> str:
        """As `UINT32`, or `STRING[32000]` for an array."""
        return self.type.name if self.size is None else f"{self.type.name}[{self.size}]"


class Metadata(Mapping[str, Any]):
    """The keys of a file in their order. Reading a value for the first time needs the file to be open still."""

    def __init__(self, buffer: mmap.mmap, entries: dict[str, Entry]):
        self._buffer = buffer
        self._entries = entries
        self._values: dict[str, Any] = {}

    def __getitem__(self, key: str) -> Any:
        if key not in self._values:
            if self._buffer.closed and key in self._entries:
                raise ValueError(f"{key} was not read before its file was closed")
            self._values[key] = _decode(self._buffer, self._entries[key])
        return self._values[key]

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<Metadata of {len(self)} keys>"

    def entry(self, key: str) -> Entry:
        """Type, count and place of a value, without decoding it. KeyError for an unknown key."""
        return self._entries[key]

    def is_decoded(self, key: str) -> bool:
        """Whether the value has been asked for yet."""
        return key in self._values


def read_entries(cursor: Cursor, count: int) -> dict[str, Entry]:
    """The `count` keys at the cursor, each value validated and passed over."""
    entries: dict[str, Entry] = {}
    for index in range(count):
        key_offset = cursor.pos
        key = cursor.name(f"key {index}", MAX_KEY_BYTES)
        if key in entries:
            raise cursor.fault(f"key {key[:80]!r} occurs twice", key_offset)
        entries[key] = _read_entry(cursor, key_offset, f"value of {key[:80]!r}")
    return entries


def _read_entry(cursor: Cursor, key_offset: int, what: str) -> Entry:
    type_id, size = cursor.u32(f"type of {what}"), None
    if type_id == ARRAY_TYPE:
        type_id = cursor.u32(f"element type of {what}")
        size = cursor.u64(f"element count of {what}")
    type_offset = cursor.pos - (4 if size is None else 12)
    if type_id == ARRAY_TYPE:
        raise cursor.fault(f"{what} is an array of arrays, which GGUF readers do not support", type_offset)
    if type_id not in VALUE_TYPES:
        raise cursor.fault(f"{what} has the unknown type {type_id}", type_offset)
    offset = cursor.pos
    _skip_value(cursor, VALUE_TYPES[type_id], size, what)
    return Entry(key_offset, VALUE_TYPES[type_id], size, offset, cursor.pos)


def _skip_value(cursor: Cursor, value_type: ValueType, size: int | None, what: str) -> None:
    what = what if size is None else f"{what}, {size} elements of {value_type.name},"
    if value_type.code is not None:
        cursor.skip(value_type.min_bytes * (1 if size is None else size), what)
    elif size is None:
        cursor.skip_string(what)
    else:
        cursor.skip_strings(size, what)


def _decode(buffer: mmap.mmap, entry: Entry) -> Any:
    raw = buffer[entry.offset : entry.end]
    if entry.type.code is None:
        strings = _split_strings(raw, 1 if entry.size is None else entry.size)
        return strings[0] if entry.size is None else strings
    if entry.size is None:
        return struct.unpack(entry.type.code, raw)[0]
    if entry.type.name == "BOOL":
        values = np.frombuffer(raw, np.uint8) != 0
        values.setflags(write=False)
        return values
    return np.frombuffer(raw, entry.type.code)


def _split_strings(raw: bytes, count: int) -> list[str]:
    """The `count` strings of `raw`, each a u64 length and its bytes."""
    read = struct.Struct("<Q").unpack_from
    strings, pos = [], 0
    for _ in range(count):
        start = pos + 8
        pos = start + read(raw, pos)[0]
        strings.append(raw[start:pos].decode("utf-8", "backslashreplace"))
    return strings
