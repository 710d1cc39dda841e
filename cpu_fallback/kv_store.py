"""One token's key and value into KV pages (kv.py), converted to the pages' type, rounded as numpy rounds."""

from __future__ import annotations

import numpy as np
from numba.extending import overload
from numba.np.numpy_support import as_dtype

from cpu_fallback import isa
from cpu_fallback.act8 import scale_of
from cpu_fallback.half import float_to_half
from cpu_fallback.jit import inlined
from cpu_fallback.kv import BLOCK, BLOCK_BYTES, INTERNAL, KEY_BLOCK_BYTES, KEY_SCALES, LANES
from cpu_fallback.simd import (
    element,
    load_f32,
    set_element,
    splat_f32,
    splat_i32,
    store_f32,
    store_i32_u8,
    to_f32,
    to_i32,
)

ONE, ZERO, INFINITY, NAN = np.float32(1), np.float32(0), np.float32(np.inf), np.float32(np.nan)


@inlined
def put_keys(items, at, count, pages, to):
    """count items of one key, side by side, to a slot: every 16th item from position `to` on."""
    for i in range(count):
        set_element(pages, to + i * LANES, element(items, at + i))


@inlined
def quantise(row, at, codes, to):
    """32 float32 from position `at` -> 32 codes (bytes of `codes`) and the bits of their scale, as formats/quantize.py.

    Codes are rounded half away from zero, in two steps that cannot pick up a rounding error. A block that is not
    finite, which quantize.py refuses, gets a scale of NaN.
    """
    low, high = load_f32(row, at), load_f32(row, at + LANES)
    scale = scale_of(low, high)
    if scale < INFINITY:
        inverse = ONE / scale if scale > ZERO else ZERO
        factor = splat_f32(inverse if inverse < INFINITY else ZERO)
        store_i32_u8(codes, to, nearest(low * factor))
        store_i32_u8(codes, to + LANES, nearest(high * factor))
    else:
        scale = NAN
        store_i32_u8(codes, to, splat_i32(1))
        store_i32_u8(codes, to + LANES, splat_i32(1))
    return float_to_half(scale)


@inlined
def nearest(x):
    whole = to_i32(x)
    rest = x - to_f32(whole)
    return whole + to_i32(rest + rest)


@inlined
def put_scale(scale, pages, at):
    set_element(pages, at, scale & 255)
    set_element(pages, at + 1, scale >> 8)


def key_f32(row, at, head_dim, pages, to, slot, spare):
    put_keys(row, at, head_dim, pages, to + slot // LANES * (head_dim * LANES) + slot % LANES)


def key_f16(row, at, head_dim, pages, to, slot, spare):
    halves = row.view(np.uint16)
    for i in range(0, head_dim, LANES):
        isa.store_f16(halves, 2 * spare + i, load_f32(row, at + i))
    put_keys(halves, 2 * spare, head_dim, pages, to + slot // LANES * (head_dim * LANES) + slot % LANES)


def key_q8_0(row, at, head_dim, pages, to, slot, spare):
    codes, blocks = row.view(np.uint8), head_dim // BLOCK
    for b in range(blocks):
        block = to + (slot // LANES * blocks + b) * KEY_BLOCK_BYTES
        put_scale(quantise(row, at + b * BLOCK, codes, 4 * spare), pages, block + KEY_SCALES + 2 * (slot % LANES))
        put_keys(codes, 4 * spare, BLOCK, pages, block + slot % LANES)


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
        put_scale(quantise(row, at + b * BLOCK, pages, block + 2), pages, block)


STORE_KEY = {np.float32: key_f32, np.uint16: key_f16, np.uint8: key_q8_0}
STORE_VALUE = {np.float32: value_f32, np.uint16: value_f16, np.uint8: value_q8_0}


def store_key(row, at, head_dim, pages, to, slot, spare):
    """float32 row[at:at+head_dim], and zeros up to whole vectors, to a slot of the head's keys at `to`.

    spare: position of padded(head_dim) elements of `row` that may be overwritten.
    """
    STORE_KEY[pages.dtype.type](row, at, head_dim, pages, to, slot, spare)


def store_value(row, at, head_dim, pages, to, slot):
    """float32 row[at:at+head_dim], and zeros up to whole vectors, to a slot of the head's values at `to`."""
    STORE_VALUE[pages.dtype.type](row, at, head_dim, pages, to, slot)


@overload(store_key, jit_options=INTERNAL)
def compiled_store_key(row, at, head_dim, pages, to, slot, spare):
    return STORE_KEY[as_dtype(pages.dtype).type]


@overload(store_value, jit_options=INTERNAL)
def compiled_store_value(row, at, head_dim, pages, to, slot):
    return STORE_VALUE[as_dtype(pages.dtype).type]
