"""Writes GGUF bytes that may be wrong on purpose, and says which field lies where.

The gguf package writes the good files of the tests; it refuses to write bad ones, so the fault and mutation tests build
theirs here. Nothing is checked: counts, types, lengths and offsets are taken as given.
"""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
CODES = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?", U64: "Q", I64: "q", F64: "d"}
# Block sizes of the few tensor types that these tests write: ggml type -> (elements, bytes)
BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 8: (32, 34), 12: (256, 144), 24: (1, 1)}


class Field(NamedTuple):
    """A field of the header: `kind` is u32, u64 or bytes; `role` says what it means."""

    offset: int
    size: int
    kind: str
    role: str


class Key(NamedTuple):
    """A key with the encoded value that follows its type."""

    name: str | bytes
    type: int
    value: bytes


class Tensor(NamedTuple):
    """A tensor; no `offset` means the right one, no `data` zeros for the shape (none if that is absurd)."""

    name: str | bytes
    ne: tuple[int, ...] = (32, 2)
    type: int = 0
    offset: int | None = None
    data: bytes | None = None
    n_dims: int | None = None


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def scalar(name: str | bytes, kind: int, value: object) -> Key:
    return Key(name, kind, text(value) if isinstance(value, str | bytes) else struct.pack("<" + CODES[kind], value))


def array(name: str, kind: int, values: list, count: int | None = None) -> Key:
    """An array; `count` overrides the number that is written."""
    body = b"".join(text(v) if kind == STRING else struct.pack("<" + CODES[kind], v) for v in values)
    return Key(name, ARRAY, struct.pack("<IQ", kind, len(values) if count is None else count) + body)


class Image:
    """A GGUF file in memory: `data`, and the `fields` of its header."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.fields: list[Field] = []

    def put(self, kind: str, raw: bytes, role: str) -> None:
        self.fields.append(Field(len(self.data), len(raw), kind, role))
        self.data += raw

    def u32(self, value: int, role: str) -> None:
        self.put("u32", struct.pack("<I", value & 0xFFFFFFFF), role)

    def u64(self, value: int, role: str) -> None:
        self.put("u64", struct.pack("<Q", value & 0xFFFFFFFFFFFFFFFF), role)

    def name(self, value: str | bytes, role: str) -> None:
        raw = value.encode() if isinstance(value, str) else value
        self.u64(len(raw), role + " length")
        self.put("bytes", raw, role)

    def find(self, role: str, nth: int = 0) -> Field:
        return [field for field in self.fields if field.role == role][nth]


def build(
    keys: list[Key] = (),  # type: ignore[assignment]
    tensors: list[Tensor] = (),  # type: ignore[assignment]
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
    n_keys: int | None = None,
    n_tensors: int | None = None,
    alignment: int = 32,
) -> Image:
    """The file with these keys and tensors; counts as given or true."""
    image = Image()
    image.put("bytes", magic, "magic")
    image.u32(version, "version")
    image.u64(len(tensors) if n_tensors is None else n_tensors, "tensor count")
    image.u64(len(keys) if n_keys is None else n_keys, "key count")
    for key in keys:
        image.name(key.name, "key")
        image.u32(key.type, "key type")
        _put_value(image, key)
    bodies = _put_tensor_infos(image, tensors, alignment)
    for body in bodies:
        image.data += bytes(-len(image.data) % alignment) + body
    if bodies:
        image.data += bytes(-len(image.data) % alignment)
    return image


def _put_value(image: Image, key: Key) -> None:
    """The value with its inner fields: an array's type and count, the lengths of strings."""
    rest = key.value
    kind = key.type
    if kind == ARRAY and len(rest) >= 12:
        kind = struct.unpack_from("<I", rest)[0]
        image.put("u32", rest[:4], "element type")
        image.put("u64", rest[4:12], "element count")
        rest = rest[12:]
    pos = 0
    while kind == STRING and len(rest) >= pos + 8:
        length = struct.unpack_from("<Q", rest, pos)[0]
        image.put("u64", rest[pos : pos + 8], "string length")
        image.put("bytes", rest[pos + 8 : pos + 8 + length], "string")
        pos += 8 + length
    rest = rest[pos:]
    if rest:
        image.put("bytes", rest, "value")


def _put_tensor_infos(image: Image, tensors: list[Tensor], alignment: int) -> list[bytes]:
    bodies, expected = [], 0
    for tensor in tensors:
        body = bytes(_nbytes(tensor)) if tensor.data is None else tensor.data
        image.name(tensor.name, "tensor name")
        image.u32(len(tensor.ne) if tensor.n_dims is None else tensor.n_dims, "dimensions")
        for extent in tensor.ne:
            image.u64(extent, "extent")
        image.u32(tensor.type, "tensor type")
        image.u64(expected if tensor.offset is None else tensor.offset, "tensor offset")
        expected += len(body) + -len(body) % alignment
        bodies.append(body)
    return bodies


def _nbytes(tensor: Tensor) -> int:
    size, nbytes = BLOCKS.get(tensor.type, (1, 4))
    total = math.prod(tensor.ne) // size * nbytes
    return total if 0 <= total <= 1 << 20 else 0


def good() -> Image:
    """A small good file with every kind of value and tensors of several formats."""
    keys = [
        scalar("general.architecture", STRING, "llama"),
        scalar("general.alignment", U32, 32),
        *(scalar(f"a.{code}", kind, 1) for kind, code in CODES.items()),
        *(array(f"b.{code}", kind, [0, 1, 1]) for kind, code in CODES.items()),
        array("tokenizer.ggml.tokens", STRING, ["<s>", "", "▁Once", "upon"]),
        array("tokenizer.ggml.scores", F32, [0.0, -1.0, -2.0, -3.0]),
        array("empty", STRING, []),
    ]
    tensors = [
        Tensor("token_embd.weight", (32, 4), 0),
        Tensor("blk.0.attn_q.weight", (64, 3), 8),
        Tensor("blk.0.ffn_up.weight", (256, 2), 12),
        Tensor("scalar", (), 0),
        Tensor("empty", (0, 5), 0),
        Tensor("last", (3,), 1),
    ]
    return build(keys, tensors)
