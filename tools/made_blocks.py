"""Random weights drawn directly in their file format: random codes under scales that give a wanted deviation.

Guarantees: values of mean near zero and of the wanted root mean square (within a few per cent, F16's subnormal scales
included), every byte from the generator given, no quantisation and hence the speed of the generator. Codes are uniform.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from wgpu_infer.formats.blocks import FP4_VALUES, IQ4_VALUES
from wgpu_infer.formats.quants import get_format

_CHUNK_BYTES = 1 << 23
Blocks = NDArray[np.void]
Fill = Callable[[Blocks, np.random.Generator, float], None]


def draw_blocks(name: str, values: int, deviation: float, rng: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    """`values` weights of root mean square `deviation` as raw blocks of the format, in chunks of a few megabytes."""
    row = get_format(name)
    step = _CHUNK_BYTES // row.block_bytes
    total = values // row.block_size
    for start in range(0, total, step):
        count = min(step, total - start)
        if row.block_size == 1:
            weights = rng.standard_normal(count, np.float32) * np.float32(deviation)
            yield np.ascontiguousarray(row.quantize(weights[:, None])).reshape(-1)  # type: ignore[misc]
        else:
            raw = _random_bytes(rng, count * row.block_bytes)
            FILLS[name](raw.view(row.dtype), rng, deviation)
            yield raw


def _random_bytes(rng: np.random.Generator, count: int) -> NDArray[np.uint8]:
    words = rng.bit_generator.random_raw(-(-count // 8))
    return words.view(np.uint8)[:count]


def _spread(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Factors (count,) of root mean square about 1, so that blocks differ in size."""
    return rng.random(count, np.float32) * np.float32(0.5) + np.float32(0.75)


def _signs(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    """-1 or 1 (count,): the mean code is not zero in most formats, and a common sign would add up along a row."""
    return (_random_bytes(rng, count) & 1).astype(np.float32) * 2 - 1


def _rms(values: NDArray | range) -> float:
    return float(np.sqrt(np.mean(np.square(np.asarray(values, np.float64)))))


def _scaled(unit: float) -> Fill:
    """Formats whose scale alone sets the size: `unit` is the root mean square of scale-less values."""

    def fill(blocks: Blocks, rng: np.random.Generator, deviation: float) -> None:
        blocks["d"] = _spread(rng, len(blocks)) * _signs(rng, len(blocks)) * np.float32(deviation / unit)

    return fill


def _fill_q8_0(blocks: Blocks, rng: np.random.Generator, deviation: float) -> None:
    blocks["qs"] = np.maximum(blocks["qs"], -127)  # the quantisers never write -128
    _scaled(_rms(range(-127, 128)))(blocks, rng, deviation)


def _centred(codes: int, offset: str, sign: int) -> Fill:
    """Codes 0..codes-1 with an offset in the field `offset` (added with `sign`) that moves their mean to zero."""
    middle = (codes - 1) / 2
    unit = _rms(np.arange(codes) - middle)

    def fill(blocks: Blocks, rng: np.random.Generator, deviation: float) -> None:
        blocks["d"] = _spread(rng, len(blocks)) * np.float32(deviation / unit)
        blocks[offset] = blocks["d"].astype(np.float32) * np.float32(sign * middle)

    return fill


def _fill_q2_k(blocks: Blocks, rng: np.random.Generator, deviation: float) -> None:
    """A group's minimum (upper half of the byte) gets the group's scale (lower half), so that dmin centres it."""
    blocks["scales"] = (blocks["scales"] & 15) * 17
    _centred(4, "dmin", 1)(blocks, rng, deviation / _rms(range(16)))


def _fill_scales_k4(codes: int) -> Fill:
    """Q4_K and Q5_K: the eight minima get the eight scales (for the packing see blocks.split_scales_k4)."""
    centre = _centred(codes, "dmin", 1)

    def fill(blocks: Blocks, rng: np.random.Generator, deviation: float) -> None:
        scales = blocks["scales"]
        scales[:, 4:8] = scales[:, 0:4]
        scales[:, 8:12] = (scales[:, 8:12] & 15) * 17
        centre(blocks, rng, deviation / _rms(range(64)))

    return fill


def _fill_mxfp4(blocks: Blocks, rng: np.random.Generator, deviation: float) -> None:
    """Scales are powers of two, 2**(e - 128) on doubled values: the two nearest in a random mixture."""
    exponent = 128 + np.log2(deviation / _rms(FP4_VALUES))
    blocks["e"] = np.floor(exponent + rng.random(len(blocks), np.float32))


def _signed(bits: int) -> float:
    """Root mean square of uniform two's complement numbers."""
    return _rms(range(-(1 << bits - 1), 1 << bits - 1))


FILLS: dict[str, Fill] = {
    "Q4_0": _scaled(_signed(4)),
    "Q4_1": _centred(16, "m", -1),
    "Q5_0": _scaled(_signed(5)),
    "Q5_1": _centred(32, "m", -1),
    "Q8_0": _fill_q8_0,
    "Q2_K": _fill_q2_k,
    "Q3_K": _scaled(_signed(6) * _signed(3)),
    "Q4_K": _fill_scales_k4(16),
    "Q5_K": _fill_scales_k4(32),
    "Q6_K": _scaled(_signed(8) * _signed(6)),
    "IQ4_NL": _scaled(_rms(IQ4_VALUES)),
    "IQ4_XS": _scaled(_signed(6) * _rms(IQ4_VALUES)),
    "MXFP4": _fill_mxfp4,
}
