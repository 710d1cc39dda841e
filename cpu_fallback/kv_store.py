"""One token's key and value into KV pages (kv.py), converted to the pages' type, rounded as numpy rounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload
from numba.np.numpy_support import as_dtype

from cpu_fallback import isa
from cpu_fallback.act8 import scale_of
from cpu_fallback.half import float_to_half
from cpu_fallback.jit import inlined
from cpu_fallback.kv import BLOCK, BLOCK_BYTES, INTERNAL, KEY_BLOCK_BYTES, KEY_SCALES, LANES
from cpu_fallback.simd import (
    BYTES16,
    I64,
    as_index,
    load_f32,
    pointer,
    same,
    set_element,
    splat_f32,
    splat_i32,
    store_f32,
    store_i32_u8,
    to_f32,
    to_i32,
)

ONE, ZERO, INFINITY, NAN = np.float32(1), np.float32(0), np.float32(np.inf), np.float32(np.nan)


def spreader(convert: Callable) -> Any:
    """An intrinsic (pages, i, count, vector): the first `count` lanes, converted, to flat positions i, i + 16, …"""

    def spread(_typing: Any, pages: Any, i: Any, count: Any, vector: Any) -> Any:
        def lowered(context: Any, b: Any, sig: Any, v: Any) -> Any:
            items, last = convert(b, v[3]), b.sub(as_index(context, b, sig.args[2], v[2]), ir.Constant(I64, 1))
            start = as_index(context, b, sig.args[1], v[1])
            for lane in reversed(range(LANES)):  # a lane too many goes where the last one comes after it
                number = ir.Constant(I64, lane)
                number = b.select(b.icmp_signed("<", number, last), number, last)
                position = b.add(start, b.mul(number, ir.Constant(I64, LANES)))
                item = b.extract_element(items, ir.Constant(I64, lane))
                b.store(item, pointer(context, b, sig.args[0], v[0], position))
            return context.get_dummy_value()

        return types.void(pages, i, count, vector), lowered

    return intrinsic(spread)


spread_f32, spread_f16 = spreader(same), spreader(isa.f32_to_half)
spread_bytes = spreader(lambda b, v: b.trunc(v, BYTES16))


@inlined
def nearest(x):
    """f32x16 -> i32x16, half away from zero, in two steps that cannot pick up a rounding error."""
    whole = to_i32(x)
    rest = x - to_f32(whole)
    return whole + to_i32(rest + rest)


@inlined
def quantised(row, at):
    """32 float32 from position `at` -> their codes in two i32x16 and the bits of their scale, as formats/quantize.py.

    A block that is not finite, which quantize.py refuses, gets a scale of NaN.
    """
    low, high = load_f32(row, at), load_f32(row, at + LANES)
    scale = scale_of(low, high)
    if scale < INFINITY:
        inverse = ONE / scale if scale > ZERO else ZERO
        factor = splat_f32(inverse if inverse < INFINITY else ZERO)
        return nearest(low * factor), nearest(high * factor), float_to_half(scale)
    return splat_i32(1), splat_i32(1), float_to_half(NAN)


@inlined
def put_scale(scale, pages, at):
    set_element(pages, at, scale & 255)
    set_element(pages, at + 1, scale >> 8)


def key_f32(row, at, head_dim, pages, to, slot):
    start = to + slot // LANES * (head_dim * LANES) + slot % LANES
    for i in range(0, head_dim, LANES):
        spread_f32(pages, start + i * LANES, head_dim - i, load_f32(row, at + i))


def key_f16(row, at, head_dim, pages, to, slot):
    start = to + slot // LANES * (head_dim * LANES) + slot % LANES
    for i in range(0, head_dim, LANES):
        spread_f16(pages, start + i * LANES, head_dim - i, load_f32(row, at + i))


def key_q8_0(row, at, head_dim, pages, to, slot):
    blocks = head_dim // BLOCK
    for b in range(blocks):
        block = to + (slot // LANES * blocks + b) * KEY_BLOCK_BYTES
        low, high, scale = quantised(row, at + b * BLOCK)
        spread_bytes(pages, block + slot % LANES, LANES, low)
        spread_bytes(pages, block + LANES * LANES + slot % LANES, LANES, high)
        put_scale(scale, pages, block + KEY_SCALES + 2 * (slot % LANES))


def value_f32(row, at, head_dim, pages, to, slot):
    width = (head_dim + LANES - 1) // LANES * LANES
    for i in range(0, width, LANES):
        store_f32(pages, to + slot * width + i, load_f32(row, at + i))


def value_f16(row, at, head_dim, pages, to, slot):
    width = (head_dim + LANES - 1) // LANES * LANES
    for i in range(0, width, LANES):
        isa.store_f16(pages, to + slot * width + i, load_f32(row, at + i))


def value_q8_0(row, at, head_dim, pages, to, slot):
    blocks = head_dim // BLOCK
    for b in range(blocks):
        block = to + (slot * blocks + b) * BLOCK_BYTES
        low, high, scale = quantised(row, at + b * BLOCK)
        put_scale(scale, pages, block)
        store_i32_u8(pages, block + 2, low)
        store_i32_u8(pages, block + 2 + LANES, high)


STORE_KEY = {np.float32: key_f32, np.uint16: key_f16, np.uint8: key_q8_0}
STORE_VALUE = {np.float32: value_f32, np.uint16: value_f16, np.uint8: value_q8_0}


def store_key(row, at, head_dim, pages, to, slot):
    """float32 row[at:at+head_dim], and zeros up to whole vectors, to a slot of the head's keys at `to`."""
    STORE_KEY[pages.dtype.type](row, at, head_dim, pages, to, slot)


def store_value(row, at, head_dim, pages, to, slot):
    """float32 row[at:at+head_dim], and zeros up to whole vectors, to a slot of the head's values at `to`."""
    STORE_VALUE[pages.dtype.type](row, at, head_dim, pages, to, slot)


@overload(store_key, jit_options=INTERNAL)
def compiled_store_key(row, at, head_dim, pages, to, slot):
    return STORE_KEY[as_dtype(pages.dtype).type]


@overload(store_value, jit_options=INTERNAL)
def compiled_store_value(row, at, head_dim, pages, to, slot):
    return STORE_VALUE[as_dtype(pages.dtype).type]
