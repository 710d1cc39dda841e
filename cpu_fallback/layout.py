"""How quantised weights lie in memory for the CPU kernels: 16 rows interleaved, so that a SIMD lane is a row.

A weight is cut into tiles of 16 rows (the last one padded with rows of zeros), a tile into units of 32 or 256 columns,
one after the other, and a unit holds what the format stores for 16 rows of that many columns: the codes of each block
of 32 columns, and scales and minima as 16 numbers side by side, one per row. The value of column k of a row is
scale · (code - offset) - minimum, computed as ggml does: scale and minimum are float32 products, nothing is fused.

A block's codes come as 8 vectors of bytes: byte 4·row + j of vector c is column 4·c + j of the block (vectors 0-3 are
its first half, 4-7 its second). Formats of sub-blocks of 16 columns have a scale (and minimum) per half.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cpu_fallback.code_bits import Codes

ROWS = 16  # of a tile
BLOCK = 32  # columns that `codes` gives at a time


@dataclass(frozen=True)
class Layout:
    """One format's layout. The functions are `inlined` numba functions on (w uint8 array, at: the unit's first byte).

    unit: columns of a unit, 32 or 256. unit_bytes: of 16 rows. raw_bytes: of a unit of one row in the file.
    offset: subtracted from codes; 128 means that codes are signed bytes plus 128. largest: of the codes.
    halves: a block has two scales. has_minimum: `minimum` is there, and halves of it where there are halves of scales.
    codes: where a block's codes are, 8 u8x64. scale(w, at, j, half), minimum(w, at, j, half) -> f32x16.
    pack(raw, start, w, at, row): one row's unit from the file's bytes at `start` into the unit at `at`, lane `row`; an
        ordinary scalar `device` function, and every byte of the lane is written.
    """

    name: str
    ggml_type: int
    unit: int
    unit_bytes: int
    raw_bytes: int
    offset: int
    largest: int
    halves: bool
    codes: Codes
    scale: Callable
    minimum: Callable | None
    pack: Callable

    @property
    def has_minimum(self) -> bool:
        return self.minimum is not None

    def tile_bytes(self, cols: int) -> int:
        return cols // self.unit * self.unit_bytes


@dataclass(frozen=True)
class FloatLayout:
    """A float format's layout: a tile is a column of 16 rows after the other, `item` bytes a value.

    load(w, at): the 16 values of a column, from byte `at` of the uint8 array -> f32x16.
    pack(raw, start, w, at, row, cols): `cols` values of one row from the file's bytes at `start` into lane `row` of the
        columns at `at`.
    """

    name: str
    ggml_type: int
    item: int
    load: Callable
    pack: Callable

    def tile_bytes(self, cols: int) -> int:
        return cols * ROWS * self.item


def tiles(rows: int) -> int:
    return -(-rows // ROWS)
