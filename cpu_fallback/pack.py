"""From the file's rows of blocks to the tiles of layout.py, in parallel.

Packing reads the file's bytes once, tile after tile, and writes the tiles once; nothing else is allocated. Lanes of
rows that a weight does not have stay as they are: the memory is to begin as zeros.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from cpu_fallback.jit import parallel_kernel
from cpu_fallback.layout import ROWS, FloatLayout, Layout, tiles
from cpu_fallback.layouts import FLOAT_LAYOUTS, LAYOUTS

PACKERS: dict[int, Any] = {}
COLUMNS = 256  # of floats that are packed of one row, then of the next: the tile's part of them stays in the L1 cache


def find_layout(ggml_type: int) -> Layout | FloatLayout:
    """KeyError for a format that has none."""
    return LAYOUTS.get(ggml_type) or FLOAT_LAYOUTS[ggml_type]


def unit_packer(layout: Layout) -> Any:
    pack_unit, unit, unit_bytes, raw_bytes = layout.pack, layout.unit, layout.unit_bytes, layout.raw_bytes

    def pack(raw, rows, cols, out):
        """raw: the file's rows; out: their tiles."""
        units = cols // unit
        for tile in prange((rows + ROWS - 1) // ROWS):
            for row in range(min(ROWS, rows - tile * ROWS)):
                for u in range(units):
                    start = ((tile * ROWS + row) * units + u) * raw_bytes
                    pack_unit(raw, start, out, (tile * units + u) * unit_bytes, row)

    return parallel_kernel(pack, f"cpu_fallback.pack.{layout.name}")


def float_packer(layout: FloatLayout) -> Any:
    pack_columns, item = layout.pack, layout.item

    def pack(raw, rows, cols, out):
        for tile in prange((rows + ROWS - 1) // ROWS):
            for column in range(0, cols, COLUMNS):
                for row in range(min(ROWS, rows - tile * ROWS)):
                    start, at = ((tile * ROWS + row) * cols + column) * item, (tile * cols + column) * (ROWS * item)
                    pack_columns(raw, start, out, at, row, min(COLUMNS, cols - column))

    return parallel_kernel(pack, f"cpu_fallback.pack.{layout.name}")


def packed_size(layout: Layout | FloatLayout, rows: int, cols: int) -> int:
    """Bytes that a packed weight takes; its memory begins as zeros, on a cache line."""
    return tiles(rows) * layout.tile_bytes(cols)


def pack_tiles(raw: np.ndarray, ggml_type: int, rows: int, cols: int, out: np.ndarray) -> None:
    """Packs rows, whole tiles of them but for a weight's last. raw: uint8; out: uint8, at least (packed_size)."""
    kernel = PACKERS.get(ggml_type)
    if kernel is None:
        layout = find_layout(ggml_type)
        kernel = PACKERS[ggml_type] = unit_packer(layout) if isinstance(layout, Layout) else float_packer(layout)
    kernel(raw, rows, cols, out)
