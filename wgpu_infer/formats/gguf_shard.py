"""One GGUF file: opened without ever blocking, mapped, and validated from the first byte to the last.

The file is mapped, not read: opening touches its header only. Replacing the file by renaming another over it does not
disturb a mapping. Overwriting it in place does, and truncating it ends the process at the next access (SIGBUS), which
no reader of mapped files can prevent; `is_changed` tells before one goes on.
"""

from __future__ import annotations

import contextlib
import errno
import io
import mmap
import os
import stat
import warnings

from wgpu_infer.errors import ModelFormatError
from wgpu_infer.formats.gguf_cursor import Cursor
from wgpu_infer.formats.gguf_hints import SNIFF_BYTES, guess_content
from wgpu_infer.formats.gguf_metadata import Metadata, read_entries
from wgpu_infer.formats.gguf_tensors import DataSection, TensorInfo, read_tensors
from wgpu_infer.formats.gguf_types import (
    DEFAULT_ALIGNMENT,
    HEADER_BYTES,
    MIN_KEY_VALUE_BYTES,
    MIN_TENSOR_INFO_BYTES,
)

_CALLER = 5  # warnings point at whoever called GGUF.open
_VERSIONS = (2, 3)  # they differ in nothing that a little-endian reader sees


class Shard:
    """An open GGUF file: `path`, `version`, `alignment`, `metadata`, `tensors` in file order, and the mapped bytes."""

    def __init__(self, path: str, index: int = 0):
        self.path = path
        self.index = index
        self._file = _open_regular(path)
        try:
            self._opened = os.fstat(self._file.fileno())
            self.buffer = _map(self._file, self._opened.st_size, path)
            self._parse()
        except BaseException:
            self.close()
            raise

    def _parse(self) -> None:
        cursor = Cursor(self.buffer, self.path)
        self.version = _read_version(cursor)
        num_tensors, num_keys = _read_counts(cursor)
        self.metadata = Metadata(self.buffer, read_entries(cursor, num_keys))
        self.alignment = _alignment(self.metadata, cursor)
        self.tensors: dict[str, TensorInfo]
        self.tensors, section = read_tensors(cursor, num_tensors, self.alignment, self.index)
        _check_extent(section, len(self.buffer), bool(self.tensors), self.path)

    def is_changed(self) -> bool:
        """Whether the opened file was written to since; a file renamed over it or its removal is no change to it."""
        now = os.fstat(self._file.fileno())
        return (now.st_size, now.st_mtime_ns) != (self._opened.st_size, self._opened.st_mtime_ns)

    def close(self) -> None:
        """Idempotent. Memory stays mapped as long as arrays over it live."""
        if hasattr(self, "buffer"):
            with contextlib.suppress(BufferError):  # an array over the map exists: it goes when that goes
                self.buffer.close()
        self._file.close()


def _open_regular(path: str) -> io.FileIO:
    """Opens a regular file. Anything else is an OSError and is not opened: a FIFO would wait for a writer."""
    _require_regular(os.stat(path), path)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    file = io.FileIO(path, opener=lambda name, _: os.open(name, flags))
    try:
        _require_regular(os.fstat(file.fileno()), path)  # it may have been swapped in between
    except OSError:
        file.close()
        raise
    return file


_KINDS = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
)


def _require_regular(status: os.stat_result, path: str) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder, not a model file", path)
    for matches, kind in _KINDS:
        if matches(status.st_mode):
            raise OSError(errno.EINVAL, f"is {kind}, not a model file", path)


def _map(file: io.FileIO, size: int, path: str) -> mmap.mmap:
    if size == 0:
        raise ModelFormatError("the file is empty: truncated header", path, 0)
    try:
        return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    except ValueError as error:
        raise ModelFormatError(f"the file changed while it was opened: {error}", path) from None


def _read_version(cursor: Cursor) -> int:
    head = cursor.buffer[:SNIFF_BYTES]
    if not head.startswith(b"GGUF"):
        raise cursor.fault(_not_gguf(head, cursor.end))
    if cursor.end < HEADER_BYTES:
        raise cursor.fault(
            f"truncated header: the file has {cursor.end} bytes, a GGUF header {HEADER_BYTES}", cursor.end
        )
    cursor.pos = 4
    version = cursor.u32("version")
    if version in _VERSIONS:
        return version
    if version == 1:
        raise cursor.fault("GGUF v1 unsupported: convert the model anew", 4)
    if version and version & 0xFFFF == 0:
        raise cursor.fault(f"version {version:#x} has the wrong endianness: this reader takes little-endian files", 4)
    raise cursor.fault(f"GGUF version {version} is not supported; versions 2 and 3 are", 4)


def _not_gguf(head: bytes, size: int) -> str:
    content = guess_content(head)
    short = f"truncated header, {size} bytes: " if size < HEADER_BYTES else ""
    reason = f"{short}not a GGUF file: it begins with {head[:4]!r} instead of b'GGUF'"
    return f"{reason}; this looks like {content}" if content else reason


def _read_counts(cursor: Cursor) -> tuple[int, int]:
    """The numbers of tensors and of keys, each possible in a file of this size."""
    tensors_at, keys_at = cursor.pos, cursor.pos + 8
    num_tensors, num_keys = cursor.u64("tensor count"), cursor.u64("key count")
    remaining = cursor.end - cursor.pos
    if num_keys * MIN_KEY_VALUE_BYTES > remaining:
        raise cursor.fault(f"{num_keys} keys cannot fit in the {remaining} bytes that follow", keys_at)
    if num_tensors * MIN_TENSOR_INFO_BYTES > remaining - num_keys * MIN_KEY_VALUE_BYTES:
        raise cursor.fault(f"{num_tensors} tensors cannot fit in the {remaining} bytes that follow", tensors_at)
    return num_tensors, num_keys


def _alignment(metadata: Metadata, cursor: Cursor) -> int:
    key = "general.alignment"
    if key not in metadata:
        return DEFAULT_ALIGNMENT
    entry = metadata.entry(key)
    if entry.type_name != "UINT32":
        raise cursor.fault(f"{key} has type {entry.type_name}; it must be UINT32", entry.offset)
    alignment: int = metadata[key]
    if alignment == 0 or alignment & (alignment - 1):
        raise cursor.fault(f"{key} is {alignment}; it must be a power of two", entry.offset)
    return alignment


def _check_extent(section: DataSection, size: int, has_tensors: bool, path: str) -> None:
    """The file holds all tensor data. Some writers do not pad the last tensor; a part of the padding is a cut file."""
    needed = section.end if size <= section.end else section.padded_end
    if has_tensors and size < needed:
        raise ModelFormatError(
            f"file incomplete: need {needed} bytes, have {size}; download or copy it again", path, size
        )
    if size > section.padded_end:
        extra = size - section.padded_end
        warnings.warn(f"{path}: {extra} bytes after the last tensor are ignored", stacklevel=_CALLER)
