"""Rearranged bits against the definition, one code at a time."""

from __future__ import annotations

import numpy as np
import pytest

from wgpu_infer.backends.webgpu import pack_bits


def field(nbytes: int) -> np.ndarray:
    return np.random.default_rng(nbytes).integers(0, 256, (3, nbytes), dtype=np.uint8)


def test_nibbles():
    before, after = field(128), pack_bits.nibbles(field(128))
    for run in range(4):
        for code in range(32):
            byte = before[:, 32 * run + code]
            for place, want in ((0, byte & 15), (16, byte >> 4)):  # the block of the low nibbles, that of the high ones
                got = after[:, 32 * run + place + code % 16] >> 4 * (code // 16) & 15
                np.testing.assert_array_equal(got, want)


def test_pairs():
    before, after = field(64), pack_bits.pairs(field(64))
    for run in range(2):
        for block in range(4):
            for code in range(32):
                got = after[:, 32 * run + 8 * block + code % 8] >> 2 * (code // 8) & 3
                np.testing.assert_array_equal(got, before[:, 32 * run + code] >> 2 * block & 3)


def test_bits():
    before, after = field(32), pack_bits.bits(field(32)).view("<u4")
    for block in range(8):
        for code in range(32):
            np.testing.assert_array_equal(after[:, block] >> code & 1, before[:, code] >> block & 1)


@pytest.mark.parametrize(
    "there, back", ((pack_bits.nibbles,) * 2, (pack_bits.pairs,) * 2, (pack_bits.bits, pack_bits.bits_back))
)
def test_the_way_back(there, back):
    np.testing.assert_array_equal(back(there(field(64))), field(64))
