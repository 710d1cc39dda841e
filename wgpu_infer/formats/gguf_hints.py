"""What a file that is not GGUF probably is, from its first bytes: the hint that saves a new user the search."""

from __future__ import annotations

import string

SNIFF_BYTES = 512

_OLD = "the {} format of 2023, which nothing reads any more: get the model as GGUF"
_PICKLE = "a Python pickle (a PyTorch checkpoint), which is never loaded because it can run code: get the model as GGUF"
_ARCHIVE = "a {} archive: unpack it first, or get the model as GGUF"

# (how the file begins, what it is), first match wins
_PREFIXES: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the model itself: run `git lfs pull` or download the file"),
    (b"FUGG", "byte-swapped GGUF (big-endian): this reader takes little-endian files"),
    *(
        (magic, _OLD.format(name))
        for name in ("GGML", "GGMF", "GGJT", "GGLA")
        for magic in (name.encode(), name.lower().encode(), name.lower().encode()[::-1])
    ),
    *((bytes([0x80, protocol]), _PICKLE) for protocol in range(1, 6)),
    (b"PK\x03\x04", _ARCHIVE.format("zip") + " (PyTorch checkpoints are zip archives too, and are never loaded)"),
    (b"\x1f\x8b", _ARCHIVE.format("gzip")),
    (b"BZh", _ARCHIVE.format("bzip2")),
    (b"\xfd7zXZ", _ARCHIVE.format("xz")),
    (b"7z\xbc\xaf", _ARCHIVE.format("7z")),
    (b"\x28\xb5\x2f\xfd", _ARCHIVE.format("zstd")),
    (b"\x89HDF", "an HDF5 file: get the model as GGUF"),
)


def guess_content(head: bytes) -> str | None:
    """What a file beginning with `head` (up to SNIFF_BYTES) probably is; None for no idea."""
    for prefix, what in _PREFIXES:
        if head.startswith(prefix):
            return what
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "an HTML page: probably the answer of a web server that refused the download"
    if head[5:9] == b"\0\0\0{":  # the end of a small u64 length, then JSON
        return "a safetensors file, which cannot be read yet: get the model as GGUF"
    if head and not any(head):
        return "zeros: probably an unfinished download"
    return "a text file" if _is_text(head) else None


def _is_text(head: bytes) -> bool:
    """Whether all of `head` is printable UTF-8; a character cut in two at its end is forgiven."""
    try:
        decoded = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:
            return False
        decoded = head[: error.start].decode("utf-8")
    return bool(decoded) and all(char in string.whitespace or char.isprintable() for char in decoded)
