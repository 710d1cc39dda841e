"""From the file's rows of blocks to the tiles of layout.py, in parallel, and back to float32 rows.

Packing reads the file's bytes once, in order, and writes the tiles once; nothing else is allocated.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from cpu_fallback.jit import parallel_kernel
from cpu_fallback.layout import ROWS, Layout, tiles
from cpu_fallback.layouts import LAYOUTS

PACKERS: dict[int, Any] = {}
ALIGNMENT = 64


def packer(layout: Layout) -> Any:
    pack_unit, unit_bytes, raw_bytes = layout.pack, layout.unit_bytes, layout.raw_bytes

    @parallel_kernel
    def pack(raw, rows, first, count, units, out):
        """raw: the file's rows of `units` units; tiles first..first+count-1 of out."""
        for tile in prange(first, first + count):
            for row in range(min(ROWS, rows - tile * ROWS)):
                for u in range(units):
                    start = ((tile * ROWS + row) * units + u) * raw_bytes
                    pack_unit(raw, start, out, (tile * units + u) * unit_bytes, row)

    return pack


def packed_size(layout: Layout, rows: int, cols: int) -> int:
    return tiles(rows) * layout.tile_bytes(cols)


def aligned_zeros(size: int) -> np.ndarray:
    """uint8 zeros that begin on a cache line; their pages are taken from the system when they are first written."""
    whole = np.zeros(size + ALIGNMENT, np.uint8)
    start = -whole.ctypes.data % ALIGNMENT
    return whole[start : start + size]


def pack_tiles(raw: np.ndarray, ggml_type: int, rows: int, cols: int, first: int, count: int, out: np.ndarray) -> None:
    """Packs `count` tiles from tile `first` on. raw: uint8, all rows; out: uint8 (packed_size)."""
    kernel = PACKERS.get(ggml_type)
    if kernel is None:
        kernel = PACKERS[ggml_type] = packer(LAYOUTS[ggml_type])
    kernel(raw, rows, first, count, cols // LAYOUTS[ggml_type].unit, out)


def packed_zeros(ggml_type: int, rows: int, cols: int) -> np.ndarray:
    """Memory for a packed weight."""
    return aligned_zeros(packed_size(LAYOUTS[ggml_type], rows, cols))
