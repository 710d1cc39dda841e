"""Numbers of the GGUF format as tables: tensor types with their block sizes, metadata value types, limits.

The tensor table holds every type that a live GGUF file can carry, also those we cannot compute with, so that a file
can be inspected whatever it holds. Names and ids are ggml's (the `gguf` package's GGMLQuantizationType), sizes those of
its block structs. `quants.py` takes the sizes of its formats from here.

Sources: the GGUF specification (ggml/docs/gguf.md) and ggml's headers for the ids and block structs.
"""

from __future__ import annotations

from typing import NamedTuple


class TensorType(NamedTuple):
    """A ggml tensor type: `block_size` elements of a row are stored in `block_bytes` bytes."""

    ggml_type: int
    name: str
    block_size: int
    block_bytes: int

    def row_bytes(self, elements: int) -> int:
        """Bytes of a row of `elements` values; `elements` must be a multiple of `block_size`."""
        return elements // self.block_size * self.block_bytes


_ROWS = (
    TensorType(0, "F32", 1, 4),
    TensorType(1, "F16", 1, 2),
    TensorType(2, "Q4_0", 32, 18),
    TensorType(3, "Q4_1", 32, 20),
    TensorType(6, "Q5_0", 32, 22),
    TensorType(7, "Q5_1", 32, 24),
    TensorType(8, "Q8_0", 32, 34),
    # ggml's own struct has 36 bytes (two f16); the gguf package says 40, from the time of two f32. No file stores it.
    TensorType(9, "Q8_1", 32, 36),
    TensorType(10, "Q2_K", 256, 84),
    TensorType(11, "Q3_K", 256, 110),
    TensorType(12, "Q4_K", 256, 144),
    TensorType(13, "Q5_K", 256, 176),
    TensorType(14, "Q6_K", 256, 210),
    TensorType(15, "Q8_K", 256, 292),
    TensorType(16, "IQ2_XXS", 256, 66),
    TensorType(17, "IQ2_XS", 256, 74),
    TensorType(18, "IQ3_XXS", 256, 98),
    TensorType(19, "IQ1_S", 256, 50),
    TensorType(20, "IQ4_NL", 32, 18),
    TensorType(21, "IQ3_S", 256, 110),
    TensorType(22, "IQ2_S", 256, 82),
    TensorType(23, "IQ4_XS", 256, 136),
    TensorType(24, "I8", 1, 1),
    TensorType(25, "I16", 1, 2),
    TensorType(26, "I32", 1, 4),
    TensorType(27, "I64", 1, 8),
    TensorType(28, "F64", 1, 8),
    TensorType(29, "IQ1_M", 256, 56),
    TensorType(30, "BF16", 1, 2),
    TensorType(34, "TQ1_0", 256, 54),
    TensorType(35, "TQ2_0", 256, 66),
    TensorType(39, "MXFP4", 32, 17),
    TensorType(40, "NVFP4", 64, 36),
    TensorType(41, "Q1_0", 128, 18),
    TensorType(42, "Q2_0", 64, 18),  # newer than the gguf package's table
)
TENSOR_TYPES: dict[int, TensorType] = {row.ggml_type: row for row in _ROWS}
TENSOR_TYPES_BY_NAME: dict[str, TensorType] = {row.name: row for row in _ROWS}

# Types that ggml had once and no longer reads; kept so that the error can name them.
REMOVED_TENSOR_TYPES: dict[int, str] = {
    4: "Q4_2",
    5: "Q4_3",
    31: "Q4_0_4_4",
    32: "Q4_0_4_8",
    33: "Q4_0_8_8",
    36: "IQ4_NL_4_4",
    37: "IQ4_NL_4_8",
    38: "IQ4_NL_8_8",
}


class ValueType(NamedTuple):
    """A metadata value type. `code` is the element's little-endian struct (and numpy) code, None for STRING."""

    name: str
    code: str | None
    min_bytes: int  # the least that one encoded value takes


ARRAY_TYPE = 9
VALUE_TYPES: dict[int, ValueType] = {
    0: ValueType("UINT8", "<B", 1),
    1: ValueType("INT8", "<b", 1),
    2: ValueType("UINT16", "<H", 2),
    3: ValueType("INT16", "<h", 2),
    4: ValueType("UINT32", "<I", 4),
    5: ValueType("INT32", "<i", 4),
    6: ValueType("FLOAT32", "<f", 4),
    7: ValueType("BOOL", "<?", 1),
    8: ValueType("STRING", None, 8),  # u64 length, then the bytes
    10: ValueType("UINT64", "<Q", 8),
    11: ValueType("INT64", "<q", 8),
    12: ValueType("FLOAT64", "<d", 8),
}

HEADER_BYTES = 24  # magic, u32 version, u64 tensor count, u64 key count
MIN_KEY_VALUE_BYTES = 14  # u64 length, one character, u32 type, one byte of value
MIN_TENSOR_INFO_BYTES = 25  # u64 length, one character, u32 dimensions (none), u32 type, u64 offset
MAX_KEY_BYTES = 65_535  # the specification's limit
MAX_NAME_BYTES = 63  # ggml keeps names in 64 bytes with a terminator
MAX_DIMS = 4
MAX_STRING_BYTES = 1 << 30  # as llama.cpp
# A sparse file of zeros is a valid array of empty strings, 8 bytes each and each a step of a loop: this bounds the
# loop. The largest vocabularies have 300,000 tokens and a million merges.
MAX_STRINGS = 1 << 22
INT64_MAX = (1 << 63) - 1
DEFAULT_ALIGNMENT = 32
