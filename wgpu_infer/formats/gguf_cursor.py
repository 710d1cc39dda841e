"""A cursor over the bytes of a GGUF file that cannot read, skip or count past the end.

Every length and count in the file is a Python int compared with the bytes that remain before anything is read, looped
over or allocated by it. A fault becomes a ModelFormatError with the offset of the field that is wrong.
"""

from __future__ import annotations

import mmap
import struct

from wgpu_infer.errors import ModelFormatError
from wgpu_infer.formats.gguf_types import MAX_STRING_BYTES, MAX_STRINGS

_U32 = struct.Struct("<I").unpack_from
_U64 = struct.Struct("<Q").unpack_from


class Cursor:
    """Reads little-endian fields of `buffer` from `pos` on; `path` is for the errors."""

    __slots__ = ("_strings_left", "buffer", "end", "path", "pos")

    def __init__(self, buffer: bytes | mmap.mmap, path: str):
        self.buffer = buffer
        self.end = len(buffer)
        self.path = path
        self.pos = 0
        self._strings_left = MAX_STRINGS

    def fault(self, reason: str, offset: int | None = None) -> ModelFormatError:
        """The error for a fault at `offset`, by default here."""
        return ModelFormatError(reason, self.path, self.pos if offset is None else offset)

    def need(self, nbytes: int, what: str) -> None:
        """Raises unless `nbytes` more bytes exist."""
        remaining = self.end - self.pos
        if nbytes > remaining:
            raise self.fault(f"{what} needs {nbytes} bytes, but only {remaining} remain in the file")

    def u32(self, what: str) -> int:
        self.need(4, what)
        value: int = _U32(self.buffer, self.pos)[0]
        self.pos += 4
        return value

    def u64(self, what: str) -> int:
        self.need(8, what)
        value: int = _U64(self.buffer, self.pos)[0]
        self.pos += 8
        return value

    def skip(self, nbytes: int, what: str) -> None:
        self.need(nbytes, what)
        self.pos += nbytes

    def name(self, what: str, limit: int) -> str:
        """A key or tensor name: 1 to `limit` bytes of UTF-8 without NUL."""
        start = self.pos
        length = self.u64(f"length of {what}")
        if not 1 <= length <= limit:
            raise self.fault(f"{what} has {length} bytes; 1 to {limit} are allowed", start)
        self.need(length, what)
        raw = self.buffer[self.pos : self.pos + length]
        self.pos += length
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise self.fault(f"{what} is not UTF-8: {raw[:80]!r}", start) from None
        if "\0" in text:
            raise self.fault(f"{what} contains a NUL character: {text[:80]!r}", start)
        return text

    def skip_string(self, what: str) -> None:
        start = self.pos
        length = self.u64(f"length of {what}")
        if length > MAX_STRING_BYTES:
            raise self.fault(f"{what} claims {length} bytes; at most {MAX_STRING_BYTES} are allowed", start)
        if length > self.end - self.pos:
            raise self.fault(f"{what} claims {length} bytes, but only {self.end - self.pos} remain in the file", start)
        self.pos += length

    def skip_strings(self, count: int, what: str) -> None:
        """Walks over `count` strings, in a bare loop: a vocabulary and its merges can be 450,000 of them."""
        self.need(8 * count, what)
        self._strings_left -= count
        if self._strings_left < 0:
            raise self.fault(f"{what} claims {count} strings; at most {MAX_STRINGS} are allowed in a file")
        pos, buffer, last, read = self.pos, self.buffer, self.end - 8, _U64
        for index in range(count):
            if pos > last:
                raise self.fault(
                    f"{what} ends in its string {index} of {count}: the file is cut short or a length is wrong"
                )
            length = read(buffer, pos)[0]
            if length > MAX_STRING_BYTES:
                raise self.fault(f"string {index} of {what} claims {length} bytes", pos)
            pos += 8 + length
        if pos > self.end:
            raise self.fault(f"{what} runs past the end of the file: a length in it is wrong")
        self.pos = pos
