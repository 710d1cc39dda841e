"""Packed weights: nothing is lost and nothing is widened."""

from __future__ import annotations

import numpy as np
import pytest

from wgpu_infer.backends.webgpu.pack import LAYOUTS, is_dense, pack, row_code_bytes, row_scale_bytes, unpack
from wgpu_infer.contracts.cases import index_array, random_weight
from wgpu_infer.contracts.host import HostWeight
from wgpu_infer.contracts.table import OPS
from wgpu_infer.formats import quants


def random_bytes(fmt: str, rows: int, cols: int) -> HostWeight:
    """Any bytes at all, NaN scales included."""
    rng = np.random.default_rng(rows * cols)
    return HostWeight(rng.integers(0, 256, rows * quants.row_bytes(fmt, cols), np.uint8), fmt, rows, cols)


@pytest.mark.parametrize("fmt", LAYOUTS)
@pytest.mark.parametrize("rows, cols", [(1, 256), (3, 256), (5, 768), (7, 512), (2, 1024)])
def test_unpack_gives_back_the_file_s_bytes(fmt, rows, cols):
    host = random_bytes(fmt, rows, cols)
    packed = pack(host)
    assert packed.codes.dtype == packed.scales.dtype == np.uint32
    assert packed.codes.nbytes == rows * row_code_bytes(fmt, cols) and packed.codes.nbytes % 16 == 0
    assert packed.scales.nbytes == -(-rows * row_scale_bytes(fmt, cols) // 4) * 4
    again = unpack(packed, fmt, rows, cols)
    np.testing.assert_array_equal(again.data, host.data)
    assert (again.format, again.rows, again.cols) == (fmt, rows, cols)


@pytest.mark.parametrize("fmt", [fmt for fmt in LAYOUTS if is_dense(fmt)])
@pytest.mark.parametrize("rows, cols", [(3, 50), (1, 1), (5, 172), (2, 33)])
def test_dense_rows_are_padded_with_zeros(fmt, rows, cols):
    host = random_bytes(fmt, rows, cols)
    packed = pack(host)
    size = quants.get_format(fmt).block_bytes
    tail = packed.codes.view(np.uint8).reshape(rows, -1)[:, cols * size :]
    assert tail.shape[1] < 32 * size and not tail.any()
    np.testing.assert_array_equal(unpack(packed, fmt, rows, cols).data, host.data)


@pytest.mark.parametrize("fmt", LAYOUTS)
def test_no_weight_is_expanded(fmt):
    host = random_weight(fmt, 31, 2048, 0)
    packed = pack(host)
    assert packed.codes.nbytes + packed.scales.nbytes <= 1.13 * host.data.nbytes


@pytest.mark.parametrize("fmt", LAYOUTS)
def test_pieces_of_a_weight_pack_as_the_whole(fmt):
    """An upload packs a few rows at a time; chunks of four rows end on whole words."""
    host = random_bytes(fmt, 7, 256)
    whole, parts = pack(host), [pack(host.slice_rows(a, b)) for a, b in ((0, 4), (4, 7))]
    np.testing.assert_array_equal(np.concatenate([p.codes for p in parts]), whole.codes)
    np.testing.assert_array_equal(np.concatenate([p.scales for p in parts]), whole.scales)


@pytest.mark.webgpu
@pytest.mark.parametrize("fmt", LAYOUTS)
def test_shaders_unpack_scales_of_every_size(fmt, webgpu):
    """Any codes with scales of every magnitude, f16 subnormals included (K-quants of small weights have them)."""
    rng = np.random.default_rng(1)
    host = random_bytes(fmt, 8, 512)
    fields = host.data.view(quants.get_format(fmt).dtype)
    for name in fields.dtype.names:
        if fields[name].dtype.kind == "f":
            sizes = 2.0 ** rng.uniform(-24, 6, fields[name].shape) * rng.choice([-1, 1], fields[name].shape)
            fields[name] = sizes.astype(fields[name].dtype)
        elif name == "e":
            fields[name] = rng.integers(8, 250, fields[name].shape)
        elif fmt == "BF16":
            fields[name] &= 0xBFFF  # finite
    out = webgpu.empty((8, 512))
    index = webgpu.array(index_array(range(8)))
    webgpu.run(OPS["embedding"], index, webgpu.weight(host), out, tokens=8, rows=8, cols=512, row0=0)
    np.testing.assert_allclose(webgpu.read(out, (8, 512)), host.values(), rtol=2e-7, atol=1e-37)
