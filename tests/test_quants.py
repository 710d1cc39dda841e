"""Reading weight formats: every bit as the `gguf` package reads it, on random blocks and on extreme scales."""

from __future__ import annotations

import numpy as np
import pytest

from wgpu_infer.errors import ParameterError, UnsupportedError
from wgpu_infer.formats.blocks import join_bits, join_scales_k4, split_bits, split_scales_k4
from wgpu_infer.formats.quants import FORMATS, dequantize, get_format, quantize, row_bytes

gguf = pytest.importorskip("gguf")

NAMES = "F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS MXFP4".split()  # noqa: SIM905
EXTREME_HALVES = [  # bit patterns of float16
    0x0000,  # zero
    0x8000,  # minus zero
    0x0001,  # smallest subnormal
    0x8001,
    0x03FF,  # largest subnormal
    0x0400,  # smallest normal
    0x3C00,  # one
    0xBC00,
    0x7BFF,  # largest, 65504
    0xFBFF,
    0x7C00,  # infinity
    0xFC00,
    0x7E00,  # NaN
]


def random_blocks(name: str, count: int, seed: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, FORMATS[name].block_bytes), dtype=np.uint8)


def read_by_oracle(blocks: np.ndarray, name: str) -> np.ndarray:
    with np.errstate(all="ignore"):
        return gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType[name]).reshape(len(blocks), -1)


def read_by_us(blocks: np.ndarray, name: str) -> np.ndarray:
    return dequantize(blocks, name, (len(blocks), FORMATS[name].block_size))


def assert_same_bits(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Equal to the last bit, the sign of zero included; a NaN must be a NaN, of whatever payload."""
    assert ours.dtype == theirs.dtype == np.float32
    nan = np.isnan(theirs)
    assert np.array_equal(np.isnan(ours), nan)
    assert np.array_equal(ours.view(np.uint32)[~nan], theirs.view(np.uint32)[~nan])


def test_the_table_holds_the_sixteen_formats_with_the_sizes_of_the_gguf_package():
    assert list(FORMATS) == NAMES
    for name, row in FORMATS.items():
        kind = gguf.GGMLQuantizationType[name]
        assert (row.name, row.ggml_type) == (name, kind.value)
        assert (row.block_size, row.block_bytes) == gguf.GGML_QUANT_SIZES[kind]
        assert row.dtype.itemsize == row.block_bytes


@pytest.mark.parametrize("name", NAMES)
def test_random_blocks_read_as_the_gguf_package_reads_them(name):
    blocks = random_blocks(name, 3000)
    assert_same_bits(read_by_us(blocks, name), read_by_oracle(blocks, name))


def scale_fields(name: str) -> list[str]:
    return [field for field in FORMATS[name].dtype.names if FORMATS[name].dtype[field] == np.dtype("<f2")]


@pytest.mark.parametrize("name", [name for name in NAMES if scale_fields(name)])
def test_extreme_scales_read_as_the_gguf_package_reads_them(name):
    """Every pair of extreme values in the scale fields, over random codes."""
    halves = np.array(EXTREME_HALVES, np.uint16).view(np.float16)
    pairs = np.stack(np.meshgrid(halves, halves), axis=-1).reshape(-1, 2)
    blocks = random_blocks(name, len(pairs))
    for index, field in enumerate(scale_fields(name)):
        blocks.view(FORMATS[name].dtype)[:, 0][field] = pairs[:, index]
    ours = read_by_us(blocks, name)
    assert_same_bits(ours, read_by_oracle(blocks, name))
    assert np.isnan(ours).any() and np.isinf(ours).any() and np.isfinite(ours).any()


def test_every_mxfp4_exponent_with_every_code():
    blocks = np.empty((256, 17), np.uint8)
    blocks[:, 0] = np.arange(256)
    blocks[:, 1:] = np.arange(16) | np.arange(15, -1, -1) << 4
    assert_same_bits(read_by_us(blocks, "MXFP4"), read_by_oracle(blocks, "MXFP4"))


@pytest.mark.parametrize("name", ["F16", "BF16"])
def test_every_16_bit_float(name):
    blocks = np.arange(1 << 16, dtype="<u2").view(np.uint8).reshape(-1, 2)
    assert_same_bits(read_by_us(blocks, name), read_by_oracle(blocks, name))


@pytest.mark.parametrize("name", NAMES)
def test_a_tensor_larger_than_a_chunk_keeps_its_rows(name):
    row = FORMATS[name]
    columns = 3 * row.block_size
    rows = (1 << 16) // columns + 5  # more than a chunk of values, and not a multiple of it
    data = random_blocks(name, 3 * rows).reshape(-1)
    values = dequantize(data, name, (rows, columns))
    assert values.shape == (rows, columns)
    for index in (0, rows // 2, rows - 1):
        raw = data.reshape(rows, row_bytes(name, columns))[index]
        assert_same_bits(values[index], dequantize(raw, name, (1, columns))[0])


def test_data_may_be_of_any_item_type_and_read_only():
    x = np.arange(64, dtype=np.float32).reshape(2, 32)
    data = quantize(x, "F16").view(np.float16).reshape(2, 32)
    data.flags.writeable = False
    assert np.array_equal(dequantize(data, "F16", (2, 32)), x)
    assert np.array_equal(dequantize(data[:, ::2], "F16", (2, 16)), x[:, ::2])


def test_row_bytes():
    assert row_bytes("Q4_K", 512) == 288
    assert row_bytes("F32", 172) == 688
    with pytest.raises(ParameterError, match=r"172 values is not a multiple of Q4_0's block of 32"):
        row_bytes("Q4_0", 172)


def test_errors_name_what_is_wrong():
    with pytest.raises(UnsupportedError, match=r"IQ1_S is not supported; known formats: F32, .*MXFP4"):
        get_format("IQ1_S")
    with pytest.raises(ParameterError, match="takes 36 bytes, not 35"):
        dequantize(np.zeros(35, np.uint8), "Q4_0", (2, 32))
    with pytest.raises(ParameterError, match="not a multiple"):
        dequantize(np.zeros(18, np.uint8), "Q4_0", (1, 33))


@pytest.mark.parametrize(("bits", "run"), [(1, 32), (2, 32), (4, 16), (4, 64)])
def test_joining_bits_inverts_splitting(bits, run):
    packed = np.random.default_rng(1).integers(0, 256, (5, 2 * run), dtype=np.uint8)
    codes = split_bits(packed, bits, run)
    assert codes.shape == (5, 2 * run * 8 // bits) and codes.max() == 2**bits - 1
    assert np.array_equal(join_bits(codes, bits, run), packed)


def test_joining_the_scales_of_q4_k_inverts_splitting():
    packed = np.random.default_rng(2).integers(0, 256, (100, 12), dtype=np.uint8)
    assert np.array_equal(join_scales_k4(*split_scales_k4(packed)), packed)


@pytest.mark.parametrize("name", ["f32", "F16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL", "Q4_K_M", "Q6_K"])
def test_real_files_read_as_the_gguf_package_reads_them(shared, name):
    reader = gguf.GGUFReader(shared("models", f"stories260K-{name}.gguf"))
    for tensor in reader.tensors:
        kind, shape = tensor.tensor_type.name, tuple(int(size) for size in tensor.shape[::-1])
        theirs = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        assert_same_bits(dequantize(tensor.data, kind, shape), np.ascontiguousarray(theirs).reshape(shape))
