"""Seeded operands for the ops' cases: random weights in every format, index rows, activations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wgpu_infer.contracts.contract import Case
from wgpu_infer.contracts.host import HostWeight
from wgpu_infer.formats import quants

SCALE_FIELDS = ("d", "dmin", "m")


def weight_formats() -> list[str]:
    return list(quants.FORMATS)


def activations(*shape: int, seed: int, scale: float = 1.0) -> np.ndarray:
    """Normal float32 values with a few outliers, as activations have."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape) * scale
    x.reshape(-1)[:: 37 if x.size > 37 else 5] *= 6.0
    return x.astype(np.float32)


def random_weight(fmt: str, rows: int, cols: int, seed: int) -> HostWeight:
    """Random codes with sane scales: every code of the format occurs, values stay of order one."""
    rng = np.random.default_rng(seed)
    if fmt in ("F32", "F16", "BF16"):
        values = rng.standard_normal((rows, cols)).astype(np.float32)
        return HostWeight(quants.quantize(values, fmt), fmt, rows, cols)
    f = quants.get_format(fmt)
    blocks = rng.integers(0, 256, (rows * cols // f.block_size, f.block_bytes), np.uint8)
    fields = blocks.reshape(-1).view(f.dtype)
    for name in f.dtype.names or ():
        if name in SCALE_FIELDS:
            fields[name] = rng.uniform(-0.02, 0.02, fields[name].shape).astype(np.float16)
        if name == "e":  # MXFP4: a power-of-two exponent, biased by 127
            fields[name] = rng.integers(120, 128, fields[name].shape)
    return HostWeight(blocks.reshape(-1), fmt, rows, cols)


def beside(case: Case) -> Case:
    """The same product among the columns of a wider output."""
    return Case(f"{case.id}-beside", case.operands, {**case.params, "row0": 5, "stride": case.params["rows"] + 8})


def index_array(
    ids: Sequence[int], sequences: Sequence[int] = (), positions: Sequence[int] = (), outputs: Sequence[int] = ()
) -> np.ndarray:
    """(tokens, 4) uint32: id, sequence, position, output row."""
    out = np.zeros((len(ids), 4), np.uint32)
    for column, values in enumerate((ids, sequences, positions, outputs)):
        out[: len(values), column] = values
    return out
