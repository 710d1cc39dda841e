"""matvec_act8: y = x·Wᵀ for one token rounded to int8 blocks, straight from the packed weight: decoding's kernel.

Two tiles of 16 rows are walked side by side, since memory is read faster in two streams than in one. Several tokens at
once take matmul_act8's kernel, which unpacks each weight once for all of them; both add the same products in the same
order, so a token's result is the same alone and in a batch, bit for bit.
"""

from __future__ import annotations

from cpu_fallback.byte_dots import add_dots
from cpu_fallback.checks import BAD_PARAMETERS
from cpu_fallback.isa import fma
from cpu_fallback.jit import inlined, kernel, span
from cpu_fallback.layout import BLOCK, ROWS, Layout
from cpu_fallback.layouts import LAYOUTS
from cpu_fallback.per_layout import per_layout
from cpu_fallback.products import PART_BYTES, put_rows
from cpu_fallback.simd import address, prefetch, splat_f32, splat_i32, to_f32

LINE = 64  # bytes of a cache line
PAIR = 2 * ROWS  # rows that are summed side by side
AHEAD = 2048  # bytes, of either stream: further than the processor's own prefetcher looks


def parts(*, rows: int, weight_bytes: int, **_: int) -> int:
    return max(1, min(-(-rows // PAIR), weight_bytes // PART_BYTES))


def stand_in(*, tokens: int, **_: int) -> str | None:
    """The op whose twin takes a call of this one."""
    return "matmul_act8" if tokens != 1 else None


def block_adder(layout: Layout):
    """(y, w, at, j, x, x_scales, x_sums, b): y plus block j of the unit at `at` times the token's block b."""
    scale, minimum = layout.scale, layout.minimum
    whole_block = add_dots(layout.codes, 0, 8, layout.offset, layout.largest)
    first_half, second_half = (add_dots(layout.codes, at, 4, layout.offset, layout.largest) for at in (0, 4))

    @inlined
    def whole(y, w, at, j, x, x_scales, x_sums, b):
        total = x_sums[2 * b] + x_sums[2 * b + 1]
        sums = whole_block(total, w, at, j, x, BLOCK * b)
        return fma(to_f32(sums), scale(w, at, j, 0) * splat_f32(x_scales[b]), y)

    @inlined
    def whole_less_minimum(y, w, at, j, x, x_scales, x_sums, b):
        total = x_sums[2 * b] + x_sums[2 * b + 1]
        factor = splat_f32(x_scales[b])
        sums = whole_block(total, w, at, j, x, BLOCK * b)
        y = fma(to_f32(sums), scale(w, at, j, 0) * factor, y)
        return fma(-minimum(w, at, j, 0), factor * to_f32(splat_i32(total)), y)

    @inlined
    def halves(y, w, at, j, x, x_scales, x_sums, b):
        factor = splat_f32(x_scales[b])
        first = first_half(x_sums[2 * b], w, at, j, x, BLOCK * b)
        y = fma(to_f32(first), scale(w, at, j, 0) * factor, y)
        second = second_half(x_sums[2 * b + 1], w, at, j, x, BLOCK * b + 16)
        return fma(to_f32(second), scale(w, at, j, 1) * factor, y)

    @inlined
    def halves_less_minimum(y, w, at, j, x, x_scales, x_sums, b):
        factor = splat_f32(x_scales[b])
        first = first_half(x_sums[2 * b], w, at, j, x, BLOCK * b)
        y = fma(to_f32(first), scale(w, at, j, 0) * factor, y)
        y = fma(-minimum(w, at, j, 0), factor * to_f32(splat_i32(x_sums[2 * b])), y)
        second = second_half(x_sums[2 * b + 1], w, at, j, x, BLOCK * b + 16)
        y = fma(to_f32(second), scale(w, at, j, 1) * factor, y)
        return fma(-minimum(w, at, j, 1), factor * to_f32(splat_i32(x_sums[2 * b + 1])), y)

    kinds = {(False, False): whole, (False, True): whole_less_minimum, (True, False): halves}
    return kinds.get((layout.halves, layout.has_minimum), halves_less_minimum)


@per_layout(LAYOUTS)
def matvec_act8(layout: Layout):
    add_block = block_adder(layout)
    unit, unit_bytes, blocks = layout.unit, layout.unit_bytes, layout.unit // BLOCK
    block_bytes = unit_bytes // blocks

    @kernel
    def matvec_act8(x_codes, x_scales, x_sums, w, out, tokens, rows, cols, row0, stride, part, parts, scratch):
        """One token: x (1, cols), w (rows, cols) -> out[:, row0:row0+rows] of (1, stride)."""
        if row0 < 0 or row0 + rows > stride or tokens != 1:
            return BAD_PARAMETERS
        x, scales, sums, target = x_codes.reshape(-1), x_scales.reshape(-1), x_sums.reshape(-1), out.reshape(-1)
        units, last_tile = cols // unit, (rows + ROWS - 1) // ROWS - 1
        first, last = span((rows + PAIR - 1) // PAIR, part, parts)
        for pair in range(first, last):
            a, b = 2 * pair, min(2 * pair + 1, last_tile)
            y, z = splat_f32(0.0), splat_f32(0.0)
            for u in range(units):
                at, beside = (a * units + u) * unit_bytes, (b * units + u) * unit_bytes
                for j in range(blocks):
                    for line in range(0, block_bytes, LINE):
                        prefetch(address(w, at + AHEAD + j * block_bytes + line))
                        prefetch(address(w, beside + AHEAD + j * block_bytes + line))
                    y = add_block(y, w, at, j, x, scales, sums, u * blocks + j)
                    z = add_block(z, w, beside, j, x, scales, sums, u * blocks + j)
            put_rows(y, target, row0, a * ROWS, rows, scratch, 0)
            put_rows(z, target, row0, b * ROWS, rows, scratch, 0)
        return 0

    return matvec_act8
