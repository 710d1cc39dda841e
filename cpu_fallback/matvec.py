"""matvec: y = x·Wᵀ for one float32 token. Formats that hold floats are read straight from the packed weight.

Quantised formats and several tokens take matmul's kernel, which adds the same products in the same order.
"""

from __future__ import annotations

from cpu_fallback.checks import BAD_PARAMETERS
from cpu_fallback.isa import fma
from cpu_fallback.jit import kernel, span
from cpu_fallback.layout import ROWS, FloatLayout, Layout
from cpu_fallback.matmul import EVERY_LAYOUT, matmul
from cpu_fallback.per_layout import per_layout
from cpu_fallback.products import PART_BYTES, put_rows
from cpu_fallback.simd import splat_f32

PAIR = 2 * ROWS  # rows that are summed at once: one sum alone would wait for its own additions


def parts(*, rows: int, weight_bytes: int, **_: int) -> int:
    return max(1, min(-(-rows // PAIR), weight_bytes // PART_BYTES))


def stand_in(*, tokens: int, **_: int) -> str | None:
    """The op whose twin takes a call of this one."""
    return "matmul" if tokens != 1 else None


@per_layout(EVERY_LAYOUT)
def matvec(layout: Layout | FloatLayout):
    if isinstance(layout, Layout):
        return matmul.twin(layout.ggml_type)
    load, column_bytes = layout.load, ROWS * layout.item

    @kernel
    def matvec(x, w, out, tokens, rows, cols, row0, stride, part, parts, scratch):
        """One token: x (1, cols), w (rows, cols) -> out[:, row0:row0+rows] of (1, stride)."""
        if row0 < 0 or row0 + rows > stride or tokens != 1:
            return BAD_PARAMETERS
        values, target = x.reshape(-1), out.reshape(-1)
        tile_bytes = cols * column_bytes
        last_tile = (rows + ROWS - 1) // ROWS - 1
        first, last = span((rows + PAIR - 1) // PAIR, part, parts)
        for pair in range(first, last):
            a, b = 2 * pair * tile_bytes, min(2 * pair + 1, last_tile) * tile_bytes
            y, z = splat_f32(0.0), splat_f32(0.0)
            for k in range(cols):
                value = splat_f32(values[k])
                y = fma(load(w, a + k * column_bytes), value, y)
                z = fma(load(w, b + k * column_bytes), value, z)
            put_rows(y, target, row0, pair * PAIR, rows, scratch, 0)
            if pair * PAIR + ROWS < rows:
                put_rows(z, target, row0, pair * PAIR + ROWS, rows, scratch, 0)
        return 0

    return matvec
