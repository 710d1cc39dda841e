"""The packed weight layouts of the CPU kernels: what was packed is read back to the bit, in every variant."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from test_cpu_backend import finish, start

from cpu_fallback import variant
from cpu_fallback.byte_dots import SIGNED, pairs_that_fit
from cpu_fallback.code_bits import block_reader, pieces
from cpu_fallback.jit import device
from cpu_fallback.layout import BLOCK, ROWS, FloatLayout, Layout
from cpu_fallback.layouts import FLOAT_LAYOUTS, LAYOUTS
from cpu_fallback.pack import find_layout, pack_tiles, packed_size
from cpu_fallback.simd import store_f32, store_u8
from wgpu_infer.backends.cpu_operands import ALIGNMENT, zeros
from wgpu_infer.formats import quants

NAMES = list(quants.FORMATS)
QUANTISED = [layout.name for layout in LAYOUTS.values()]
CODES = ROWS * BLOCK


def layout_of(name: str) -> Layout | FloatLayout:
    return find_layout(quants.get_format(name).ggml_type)


def random_bytes(name: str, rows: int, cols: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, rows * quants.row_bytes(name, cols), np.uint8)


def packed(name: str, raw: np.ndarray, rows: int, cols: int) -> np.ndarray:
    kind = quants.get_format(name).ggml_type
    out = zeros((packed_size(find_layout(kind), rows, cols),), np.uint8, "tiles")
    pack_tiles(raw, kind, rows, cols, out)
    return out


@functools.cache
def reader(layout: Layout):
    codes, scale, halves, has_minimum = block_reader(layout.codes), layout.scale, layout.halves, layout.has_minimum
    minimum = layout.minimum if has_minimum else scale  # something that compiles
    unit_bytes, blocks = layout.unit_bytes, layout.unit // BLOCK

    @device
    def read(w, units, code_bytes, scales, minima):
        """All blocks, in order: codes (blocks, 512), scales and minima (blocks, 2 halves, 16)."""
        for b in range(units * blocks):
            at, j = b // blocks * unit_bytes, b % blocks
            vectors = codes(w, at, j)
            for c in range(8):
                store_u8(code_bytes, b * CODES + 64 * c, vectors[c])
            for half in range(2):
                store_f32(scales, (2 * b + half) * ROWS, scale(w, at, j, half if halves else 0))
                if has_minimum:
                    store_f32(minima, (2 * b + half) * ROWS, minimum(w, at, j, half if halves else 0))

    return read


def read_tiles(layout: Layout, w: np.ndarray, cols: int) -> tuple[np.ndarray, ...]:
    """Codes, scales and minima of every weight: float32 (rows of all tiles, cols) each."""
    units = w.size // layout.unit_bytes
    blocks = units * layout.unit // BLOCK
    codes = np.empty((blocks, 8, ROWS, 4), np.uint8)
    scales, minima = np.zeros((2, blocks, 2, ROWS), np.float32)
    reader(layout)(w, units, codes.reshape(-1), scales.reshape(-1), minima.reshape(-1))

    def by_row(values: np.ndarray) -> np.ndarray:
        """(tiles · blocks of a row, columns or halves, 16) -> (rows, cols)."""
        wide = np.repeat(values, BLOCK // values.shape[1], axis=1).reshape(-1, cols // BLOCK, BLOCK, ROWS)
        return wide.transpose(0, 3, 1, 2).reshape(-1, cols)

    columns = codes.transpose(0, 1, 3, 2).reshape(blocks, BLOCK, ROWS)
    return by_row(columns).astype(np.float32), by_row(scales), by_row(minima)


@functools.cache
def float_reader(layout: FloatLayout):
    load, item = layout.load, layout.item

    @device
    def read_floats(w, out):
        for i in range(0, out.size, ROWS):
            store_f32(out, i, load(w, i * item))

    return read_floats


def values_of(name: str, w: np.ndarray, rows: int, cols: int) -> np.ndarray:
    """The packed weight as float32 (rows, cols), by the formula of layout.py in numpy, where nothing is fused."""
    layout = layout_of(name)
    if isinstance(layout, FloatLayout):
        out = np.empty(w.size // layout.item, np.float32)
        float_reader(layout)(w, out)
        return out.reshape(-1, cols, ROWS).transpose(0, 2, 1).reshape(-1, cols)[:rows]
    codes, scales, minima = read_tiles(layout, w, cols)
    with np.errstate(invalid="ignore", over="ignore"):
        values = scales * (codes - np.float32(layout.offset))
        return (values - minima if layout.has_minimum else values)[:rows]


def assert_same_bits(got: np.ndarray, want: np.ndarray) -> None:
    is_number = ~np.isnan(want)
    np.testing.assert_array_equal(np.isnan(got), ~is_number)
    np.testing.assert_array_equal(got[is_number].view(np.uint32), want[is_number].view(np.uint32))


SPECIAL = [np.inf, -np.inf, np.nan, 0.0, -0.0, 6e-8, -6e-8, 65504.0]


def special_bytes(name: str, rows: int, cols: int) -> np.ndarray:
    """Random bytes, in which some scales (and minima, by other steps) are the special numbers."""
    raw = random_bytes(name, rows, cols, seed=len(name))
    blocks = raw.view(quants.get_format(name).dtype)
    for step, field in ((3, "d"), (5, "dmin"), (5, "m"), (3, "x")):
        if field in blocks.dtype.fields:
            some = blocks[field][::step]
            exact = np.resize(SPECIAL, some.size).astype(np.float32)
            some[:] = exact if some.dtype.kind == "f" else exact.view(np.uint32) >> 16
    if name == "MXFP4":
        blocks["e"][:768:3] = np.arange(256)
    return raw


SHAPE = (37, 768)  # rows that do not fill their last tile


def check_values(name: str, w: np.ndarray) -> None:
    """w: special_bytes, packed."""
    want = quants.dequantize(special_bytes(name, *SHAPE), name, SHAPE)
    assert name == "MXFP4" or (np.isnan(want).any() and np.isinf(want).any())
    assert_same_bits(values_of(name, w, *SHAPE), want)


def test_every_format_has_a_layout():
    assert {*LAYOUTS, *FLOAT_LAYOUTS} == {each.ggml_type for each in quants.FORMATS.values()}
    assert all(layout_of(name).name == name for name in NAMES)
    with pytest.raises(KeyError):
        find_layout(99)


@pytest.mark.parametrize("name", NAMES)
def test_any_bytes_are_read_back_to_the_bits_of_the_table(name):
    check_values(name, packed(name, special_bytes(name, *SHAPE), *SHAPE))


@pytest.mark.parametrize("name", QUANTISED)
def test_codes_have_the_range_that_byte_dots_take(name):
    """Larger codes than a layout says, or unsigned ones above 129, would overflow AVX2's pairs of products."""
    layout = layout_of(name)
    is_signed = layout.offset == SIGNED
    rows, cols = 16, 2048
    codes, _, _ = read_tiles(layout, packed(name, random_bytes(name, rows, cols), rows, cols), cols)
    assert codes.max() == layout.largest or (is_signed and codes.max() < layout.largest == 255)
    assert codes.min() >= (1 if is_signed and name != "Q8_0" else 0)
    assert is_signed or layout.largest <= 129


@pytest.mark.parametrize("largest", (1, 3, 7, 15, 24, 31, 63, 127, 129))
def test_pairs_of_products_fit_into_16_bits(largest):
    """As many pairs as are added before they are widened, at their largest."""
    assert pairs_that_fit(largest) * 2 * largest * 127 <= 0x7FFF


@pytest.mark.parametrize("name", QUANTISED)
def test_no_bit_of_the_file_is_lost(name):
    """Tile i has bit i of one unit flipped, in a row of its own: no two tiles are packed to the same bytes."""
    layout = layout_of(name)
    bits = 8 * layout.raw_bytes
    unit = random_bytes(name, 1, layout.unit)
    tiles = np.zeros((bits + 1, ROWS, layout.raw_bytes), np.uint8)
    tiles[:] = unit
    for bit in range(bits):
        tiles[bit, bit % ROWS, bit // 8] ^= 1 << bit % 8
    out = packed(name, tiles.reshape(-1), tiles.shape[0] * ROWS, layout.unit).reshape(bits + 1, -1)
    assert len(np.unique(out, axis=0)) == bits + 1
    changed = (out[:-1] != out[-1]).sum(axis=1)
    assert changed.min() == changed.max() == 1


@pytest.mark.parametrize("name", NAMES)
def test_whole_tiles_are_written_whole_and_nothing_else(name):
    """In two pieces of rows, into memory that held something else, with guards round the tiles of each piece."""
    rows, cols, kind = 80, 512, quants.get_format(name).ggml_type
    raw = random_bytes(name, rows, cols)
    want, tile = packed(name, raw, rows, cols), packed_size(layout_of(name), ROWS, cols)
    out = np.full(want.size, 0xA5, np.uint8)
    row = raw.size // rows
    pack_tiles(raw[16 * row : 48 * row], kind, 32, cols, out[tile:])
    assert (out[:tile] == 0xA5).all() and (out[3 * tile :] == 0xA5).all()
    np.testing.assert_array_equal(out[tile : 3 * tile], want[tile : 3 * tile])
    pack_tiles(raw[48 * row :], kind, 32, cols, out[3 * tile :])
    np.testing.assert_array_equal(out[tile:], want[tile:])


@pytest.mark.parametrize("name", NAMES)
def test_rows_that_are_not_there_are_zeros(name):
    cols = 256
    raw = random_bytes(name, 3, cols)
    w = packed(name, raw, 3, cols)
    beyond = values_of(name, w, ROWS, cols)[3:]
    assert w.ctypes.data % ALIGNMENT == 0 and beyond.shape == (13, cols)
    tiny = np.float32(2.0**-128 * 12)  # MXFP4 has no scale of zero
    assert (np.abs(beyond) <= (tiny if name == "MXFP4" else 0)).all()


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6])
def test_pieces_cover_every_bit_once(bits):
    parts = pieces(bits)
    code_bits = sorted((p.code, p.place + i) for p in parts for i in range(p.width))
    stored_bits = sorted((p.vector, p.stored + i) for p in parts for i in range(p.width))
    assert code_bits == [(code, bit) for code in range(8) for bit in range(bits)]
    assert stored_bits == [(vector, bit) for vector in range(bits) for bit in range(8)]


CHILD = """
import numpy as np
from cpu_fallback import variant
from test_cpu_layouts import SHAPE, check_values, packed, special_bytes
for name, w in np.load(PATH).items():
    check_values(name, w)
    if name in ("Q5_0", "Q6_K", "F16"):
        np.testing.assert_array_equal(packed(name, special_bytes(name, *SHAPE), *SHAPE), w)
    print(variant.ACTIVE, name)
"""
OTHERS = [name for name in variant.possible() if name != variant.ACTIVE]


@pytest.fixture(scope="module")
def children(tmp_path_factory):
    """One process per other variant, all at once; they read what this process packed."""
    path = tmp_path_factory.mktemp("packed") / "weights.npz"
    np.savez(path, **{name: packed(name, special_bytes(name, *SHAPE), *SHAPE) for name in NAMES})
    code = CHILD.replace("PATH", repr(str(path)))
    running = {name: start(code, WGPU_INFER_CPU=name) for name in OTHERS}
    yield running
    for process in running.values():
        process.kill()


@pytest.mark.parametrize("name", OTHERS)
def test_every_variant_reads_the_same_bits(name, children):
    out, _ = finish(children[name])
    assert out.split("\n")[:-1] == [f"{name} {each}" for each in NAMES]
