"""Attention of some queries over one range of KEYS keys: scores, weights, the weighted sum of values.

What every query gets out of a range is a record: the sum of its values weighted by e^(score - highest), padded to whole
vectors, then `highest` and the weights' sum, 16 times each. Records are folded into a total in the order of the ranges.
Ranges begin at key 0 whatever the batch, every number of a record is a chain of operations over the range's keys in
order, and neither other queries nor pages converted for them change it: so a token's result does not depend on who
shares its keys, nor on which thread did which range.

The queries are those of `count` heads that share a KV head, of the tokens first..last-1 of one sequence, token by
token. Scratch holds the queries (float32, times the scale), their scores, their records of a range, their totals, their
ALiBi slopes, and a page.
"""

from __future__ import annotations

import numpy as np

from cpu_fallback.attention_tile import VECTOR, multiply
from cpu_fallback.checks import POSITION, SEQUENCE, SLOTS
from cpu_fallback.isa import fma
from cpu_fallback.jit import SCRATCH, internal
from cpu_fallback.kv import LANES, load_keys, load_values
from cpu_fallback.simd import (
    address,
    element,
    highest,
    lane_numbers,
    load_f32,
    max_f32,
    select,
    set_element,
    splat_f32,
    splat_i32,
    store_f32,
    sum_f32,
    to_f32,
)
from cpu_fallback.vector_math import exp_f32, tanh_f32

KEYS = 256  # of a range
PAGES = KEYS // SLOTS
MOST_QUERIES = 32  # that share a converted page
LOWEST = float(np.finfo(np.float32).min)  # not -inf, whose difference to itself is NaN
NOTHING = -float("inf")
GROUPS = np.int64(SLOTS // LANES)  # numba compiles once more for what it knows as a literal; these are not
NO, YES = np.int64(0), np.int64(1)


@internal
def width_of(head_dim):
    """Elements of a value, padded to whole vectors."""
    return (head_dim + LANES - 1) // LANES * LANES


@internal
def record_of(head_dim):
    return width_of(head_dim) + 2 * LANES


@internal
def most_queries(head_dim):
    """Queries that scratch has room for, beside a page; less than 1 where a head is too large."""
    room = SCRATCH - SLOTS * width_of(head_dim) - MOST_QUERIES
    return min(MOST_QUERIES, room // (head_dim + KEYS + 2 * record_of(head_dim)))


@internal
def places(queries, head_dim):
    """Where scratch holds scores, records, totals, slopes and the page; queries are at its beginning."""
    scores = queries * head_dim
    records = scores + queries * KEYS
    totals = records + queries * record_of(head_dim)
    slopes = totals + queries * record_of(head_dim)
    return scores, records, totals, slopes, slopes + MOST_QUERIES


@internal
def first_key(position, window):
    return max(0, position + 1 - window) if window > 0 else 0


@internal
def visible(position, window, number):
    """(low, high): a token at `position` attends to keys low..high-1 of range `number`; none where high is low."""
    high = max(0, min(position + 1 - number * KEYS, KEYS))
    return min(max(first_key(position, window) - number * KEYS, 0), high), high


@internal
def head_of(pages, table, sequence, number, kv_head):
    """Flat position of a head in a page of a sequence; negative where the table names no page that exists."""
    if number >= table.shape[1] or np.int64(table[sequence, number]) >= pages.shape[0]:
        return -1
    return (np.int64(table[sequence, number]) * pages.shape[1] + kv_head) * (pages.shape[2] * pages.shape[3])


@internal
def slope_of(head, heads, alibi):
    """contracts/attention.py says what it is."""
    n = 1
    while 2 * n <= heads:
        n *= 2
    return 2.0 ** (-alibi * (head + 1.0 if head < n else head - n + 0.5) / n) if alibi > 0.0 else 0.0


@internal
def take_queries(q, first, last, stride, heads, head, count, head_dim, scale, alibi, scratch):
    """Queries of heads head..head+count-1, times the scale, and their slopes to scratch."""
    factor, slopes = np.float32(scale), places((last - first) * count, head_dim)[3]
    for i in range((last - first) * count):
        set_element(scratch, slopes + i, slope_of(head + i % count, heads, alibi))
    for t in range(first, last):
        start, to = t * stride + head * head_dim, (t - first) * count * head_dim
        for i in range(count * head_dim):
            set_element(scratch, to + i, element(q, start + i) * factor)


@internal
def score_pages(kv_k, kv_v, kv_table, sequence, kv_head, queries, head_dim, number, begin, end, scratch):
    """Scores of pages begin..end-1 of a range, all their slots. False: the table names a page that does not exist."""
    scores, _, _, _, page = places(queries, head_dim)
    at = head_of(kv_k, kv_table, sequence, number * PAGES + begin, kv_head)
    for p in range(begin, end):
        pages, following = (kv_k, p + 1) if p + 1 < end else (kv_v, begin)  # what is read next
        ahead = head_of(pages, kv_table, sequence, number * PAGES + following, kv_head)
        if at < 0 or ahead < 0:
            return False
        keys = load_keys(kv_k, at, NO, GROUPS, address(pages, ahead), scratch, page)
        multiply(
            address(scratch, 0), 4 * head_dim, queries, keys, VECTOR, VECTOR * head_dim, GROUPS, head_dim,
            address(scratch, scores + p * SLOTS), 4 * KEYS, YES,
        )  # fmt: skip
        at = ahead
    return True


@internal
def hide(scratch, row, i, low, high):
    """Scores of vector i of a row that are not low..high-1 become -inf."""
    key = lane_numbers() + splat_i32(i)
    inside = (key >= splat_i32(low)) & (key < splat_i32(high))
    store_f32(scratch, row + i, select(inside, load_f32(scratch, row + i), splat_f32(NOTHING)))


@internal
def weigh(scratch, row, low, high, softcap, slope, distance, record):
    """Scores low..high-1 of a row become e^(score - highest), others in their vectors 0; record: highest and sum.

    distance: from key 0 of the range to the token's own.
    """
    first = low // LANES * LANES
    if softcap > 0.0:
        cap, inverse = splat_f32(softcap), splat_f32(1.0 / softcap)
        for i in range(first, high, LANES):
            store_f32(scratch, row + i, cap * tanh_f32(load_f32(scratch, row + i) * inverse))
    if slope > 0.0:
        for i in range(first, high, LANES):
            away = to_f32(lane_numbers() + splat_i32(i - distance))
            store_f32(scratch, row + i, fma(splat_f32(slope), away, load_f32(scratch, row + i)))
    if low < high:
        hide(scratch, row, first, low, high)
        hide(scratch, row, (high - 1) // LANES * LANES, low, high)
    top = splat_f32(LOWEST)
    for i in range(first, high, LANES):
        top = max_f32(load_f32(scratch, row + i), top)
    top, total = splat_f32(highest(top)), splat_f32(0.0)
    for i in range(first, high, LANES):
        weight = exp_f32(load_f32(scratch, row + i) - top)
        store_f32(scratch, row + i, weight)
        total = total + weight
    store_f32(scratch, record, top)
    store_f32(scratch, record + LANES, splat_f32(sum_f32(total)))


@internal
def attend_range(
    kv_k, kv_v, kv_table, index, first, last, least, most, kv_head, count, head_dim, number, window, softcap, scratch
):
    """Records of range `number`; least, most: the tokens' least and largest position. False: a page does not exist."""
    queries, width, record = (last - first) * count, width_of(head_dim), record_of(head_dim)
    scores, records, _, slopes, page = places(queries, head_dim)
    low, high = visible(least, window, number)[0], visible(most, window, number)[1]
    all_low, all_high = visible(most, window, number)[0], visible(least, window, number)[1]
    sequence, begin, end = np.int64(index[first, SEQUENCE]), low // SLOTS, (high + SLOTS - 1) // SLOTS
    if not score_pages(kv_k, kv_v, kv_table, sequence, kv_head, queries, head_dim, number, begin, end, scratch):
        return False
    for i in range(queries):
        position, start = np.int64(index[first + i // count, POSITION]), records + i * record
        here, behind = visible(position, window, number)
        for j in range(0, width, LANES):
            store_f32(scratch, start + j, splat_f32(0.0))
        slope, distance = element(scratch, slopes + i), position - number * KEYS
        weigh(scratch, scores + i * KEYS, here, behind, softcap, slope, distance, start + width)
    for p in range(begin, end):
        pages = kv_v if p + 1 < end else kv_k
        ahead = max(head_of(pages, kv_table, sequence, number * PAGES + p + 1, kv_head), 0)
        at, slot, slot_end = p * SLOTS, max(low - p * SLOTS, 0), min(high - p * SLOTS, SLOTS)
        values = head_of(kv_v, kv_table, sequence, number * PAGES + p, kv_head)
        values = load_values(kv_v, values, slot, slot_end, address(pages, ahead), scratch, page)
        # Tokens that do not see the whole page go one by one: a hidden value may be infinite, and 0 times that is NaN.
        step = queries if all_low <= at and all_high >= at + SLOTS else count
        for i in range(0, queries, step):
            here, behind = visible(np.int64(index[first + i // count, POSITION]), window, number)
            slot, slot_end = max(here - at, 0), min(behind - at, SLOTS)
            multiply(
                address(scratch, scores + i * KEYS + at + slot), 4 * KEYS, step,
                values + slot * (4 * width), 4 * width, VECTOR, width // LANES, slot_end - slot,
                address(scratch, records + i * record), 4 * record, NO,
            )  # fmt: skip
    return True


@internal
def clear_total(total, at, width, sinks, head, sink_size):
    """What a query begins with: nothing, or its head's sink, a key with a weight and a value of 0."""
    for i in range(0, width, LANES):
        store_f32(total, at + i, splat_f32(0.0))
    top, weight = (element(sinks, head), 1.0) if sink_size else (LOWEST, 0.0)
    store_f32(total, at + width, splat_f32(top))
    store_f32(total, at + width + LANES, splat_f32(weight))


@internal
def fold(total, at, records, record, width):
    """Adds a record to a total, both corrected to the higher of their highest scores."""
    before, here = load_f32(total, at + width), load_f32(records, record + width)
    top = max_f32(here, before)
    keep, add = exp_f32(before - top), exp_f32(here - top)
    for i in range(0, width + 2 * LANES, LANES):
        store_f32(total, at + i, fma(load_f32(records, record + i), add, load_f32(total, at + i) * keep))
    store_f32(total, at + width, top)


@internal
def put_quotient(total, at, head_dim, out, to):
    """The finished total, divided by its weights' sum, to head_dim elements of out."""
    width = width_of(head_dim)
    weight = load_f32(total, at + width + LANES)
    for i in range(0, width, LANES):
        store_f32(total, at + i, load_f32(total, at + i) / weight)
    for i in range(head_dim):
        set_element(out, to + i, element(total, at + i))
