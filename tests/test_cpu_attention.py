"""Attention, rope and the KV cache on the CPU: what the contract's cases do not show by themselves."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from op_runner import check_case, run_case

from cpu_fallback import attention as twin
from cpu_fallback import kv
from cpu_fallback.isa import store_f16
from cpu_fallback.jit import SCRATCH, cached
from cpu_fallback.simd import load_f32
from wgpu_infer.backends import cpu
from wgpu_infer.backends.cpu_pages import PAGE_FORMATS
from wgpu_infer.backends.reference import ReferenceBackend
from wgpu_infer.contracts import attention, rope_kv_write
from wgpu_infer.contracts.cases import activations, index_array
from wgpu_infer.contracts.contract import Case
from wgpu_infer.contracts.host import HostKV
from wgpu_infer.errors import ParameterError
from wgpu_infer.formats import quants

TYPES = ("f32", "f16", "q8_0")


@pytest.fixture(scope="module")
def backend():
    """Its working memory begins as NaN: nothing may be read before it is written."""
    made = cpu.CPUBackend()
    made._scratch[...] = np.nan
    made._take_workspace(1 << 20)[...] = np.nan
    return made


def bits(values: np.ndarray) -> np.ndarray:
    return values.view(np.uint32)


# -- attention


def one_token(case: Case, t: int) -> Case:
    part = {name: case.operands[name][t : t + 1] for name in ("q", "index")}
    return Case("alone", {**case.operands, **part}, {**case.params, "tokens": 1})


SHAPES = {  # name: heads, KV heads, head_dim
    "alike": (3, 3, 64),
    "shared": (8, 2, 64),
    "seven share": (7, 1, 80),
    "more share than go together": (70, 2, 32),
    "narrow": (4, 2, 8),
    "odd": (2, 1, 20),
    "wide": (2, 1, 512),
}
PROMPT = [*range(3), *range(200, 270), *range(60, 68)]  # of two sequences, 40 tokens each time
SCATTERED = [600, 0, 255, 256, 257, 63, 64, 511, 512]  # as in decoding


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", TYPES)
def test_a_token_alone_gets_the_same_attention_as_in_a_prompt(shape, dtype, backend):
    heads, kv_heads, head_dim = SHAPES[shape]
    if dtype == "q8_0" and head_dim % 32:
        pytest.skip("q8_0 has blocks of 32")
    case = attention.make_case(dtype, heads, kv_heads, head_dim, PROMPT, run=40)
    check_case(backend, attention.OP, case)
    size = heads * head_dim
    together = run_case(backend, attention.OP, case)["out"]
    for t in (0, 2, 3, 39, 40, 59, 60, 72, 73, 80):
        alone = run_case(backend, attention.OP, one_token(case, t))["out"]
        np.testing.assert_array_equal(bits(alone[:size]), bits(together[t * size : (t + 1) * size]))


@pytest.mark.parametrize("more", [{}, {"window": 100}, {"window": 300}, {"softcap": 20.0}, {"alibi": 8.0}], ids=str)
@pytest.mark.parametrize("count", [3, 8, 9])
def test_few_tokens_and_many_give_the_same_bits(more, count, backend):
    """Up to FEW tokens share out the ranges of their keys, more do not."""
    case = attention.make_case("f16", 8, 2, 64, SCATTERED, **more)
    together, size = run_case(backend, attention.OP, case)["out"], 8 * 64
    part = {name: case.operands[name][:count] for name in ("q", "index")}
    some = Case("some", {**case.operands, **part}, {**case.params, "tokens": count})
    check_case(backend, attention.OP, some)
    got = run_case(backend, attention.OP, some)["out"]
    np.testing.assert_array_equal(bits(got[: count * size]), bits(together[: count * size]))


@pytest.mark.parametrize("positions", [[600, 3], PROMPT], ids=["few", "many"])
def test_how_the_work_is_cut_changes_nothing(positions, backend, monkeypatch):
    case = attention.make_case("f16", 6, 2, 64, positions, run=40)
    want = run_case(backend, attention.OP, case)["out"]
    for parts in (1, 2, 7, 1000):
        monkeypatch.setattr(twin, "parts", lambda stage, parts=parts, **_: parts)
        np.testing.assert_array_equal(bits(run_case(backend, attention.OP, case)["out"]), bits(want))


@pytest.mark.parametrize("positions", [[100, 90], list(range(90, 101))], ids=["few", "many"])
@pytest.mark.parametrize("dtype", ["f32", "f16"])
def test_what_a_token_must_not_see_cannot_reach_it(dtype, positions, backend):
    """Keys and values behind a token, or before its window, are infinite or no numbers: 0 times them would be NaN."""
    case = attention.make_case(dtype, 4, 2, 32, positions, window=40, run=len(positions))
    want = run_case(backend, attention.OP, case)["out"]
    host = case.operands["kv"]
    page, slot = host.slots(0, 128)
    seen = (np.arange(128) > min(positions) - 40) & (np.arange(128) <= max(positions))
    for array in (host.k, host.v):
        array[page[~seen], :, slot[~seen]] = np.inf
        array[page[~seen], :, slot[~seen], ::2] = np.nan
    np.testing.assert_array_equal(bits(run_case(backend, attention.OP, case)["out"]), bits(want))
    page, slot = host.slots(0, max(positions) + 1)
    host.v[page[-1], :, slot[-1]] = np.nan  # the last token's own
    got = run_case(backend, attention.OP, case)["out"][: len(positions) * 128].reshape(len(positions), -1)
    last = positions.index(max(positions))
    assert np.isnan(got[last]).all()
    np.testing.assert_array_equal(
        bits(np.delete(got, last, 0)), bits(np.delete(want[: got.size].reshape(got.shape), last, 0))
    )


@pytest.mark.parametrize("positions", [[300], list(range(280, 301))], ids=["few", "many"])
def test_scores_that_are_not_finite(positions, backend):
    case = attention.make_case("f32", 2, 1, 32, positions, run=len(positions))
    host, q = case.operands["kv"], np.abs(case.operands["q"])
    page, slot = host.slots(0, 280)
    host.k[page[5], :, slot[5]] = -np.inf  # of no weight
    check_case(backend, attention.OP, Case("hidden", {**case.operands, "q": q}, case.params))
    host.k[page[:256], :, slot[:256]] = -np.inf  # a whole range of no weight
    check_case(backend, attention.OP, Case("range", {**case.operands, "q": q}, case.params))
    host.k[page[5], :, slot[5]] = np.inf  # infinity less itself
    with np.errstate(invalid="ignore"):
        check_case(backend, attention.OP, Case("nan", {**case.operands, "q": q}, case.params))


def test_large_scores_do_not_overflow(backend):
    case = attention.make_case("f32", 2, 1, 32, [300, 10])
    check_case(backend, attention.OP, Case("large", {**case.operands, "q": case.operands["q"] * 3000}, case.params))


@pytest.mark.parametrize("heads", [8, 6])
def test_alibi_equals_bloom_on_torch(heads, backend):
    torch = pytest.importorskip("torch", reason="the extra `hf` is not installed")
    bloom = pytest.importorskip("transformers.models.bloom.modeling_bloom", reason="the extra `hf` is not installed")
    tokens = 70
    bias = bloom.build_alibi_tensor(torch.ones(1, tokens), heads, torch.float32)  # (heads, 1, keys): slope · key
    np.testing.assert_allclose(attention.slopes(heads, 8.0), bias[:, 0, 1].numpy(), rtol=1e-6)
    mask = bias + torch.full((tokens, tokens), -torch.inf).triu(1)
    case = attention.make_case("f32", heads, heads, 32, list(range(tokens)), run=tokens, alibi=8.0)
    host = case.operands["kv"]
    page, slot = host.slots(0, tokens)
    q, k, v = (
        torch.tensor(x).transpose(0, 1) for x in (case.operands["q"], *(a[page, :, slot] for a in (host.k, host.v)))
    )
    want = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(0, 1).numpy()
    got = run_case(backend, attention.OP, case)["out"][: want.size].reshape(want.shape)
    np.testing.assert_allclose(got, want, atol=1e-4)


def test_memory_does_not_grow_with_a_prompt():
    """A prompt's attention works in the threads' scratch; a few tokens keep one record a range and query."""
    sizes = {"heads": 32, "kv_heads": 32, "head_dim": 64, "table_width": 64}
    assert twin.workspace(tokens=4096, **sizes) == 0
    assert max(4 * twin.workspace(tokens=n, **sizes) for n in range(1, 4097)) < 2 << 20
    assert 4 * SCRATCH < 1 << 20


@pytest.mark.parametrize("positions", [[70, 5], [*range(60, 80)]], ids=["few", "many"])
@pytest.mark.parametrize("column", [{"sequence": 2}, {"position": 128}, {"position": 2**32 - 1}], ids=str)
def test_a_row_outside_the_table_is_refused(positions, column, backend):
    case = attention.make_case("f16", 4, 2, 32, positions, run=len(positions))
    for row in (0, len(positions) - 1):
        index = case.operands["index"].copy()
        index[row, 1 if "sequence" in column else 2] = next(iter(column.values()))
        bad = Case("bad", {**case.operands, "index": index}, case.params)
        with pytest.raises(ParameterError, match=f"attention: index row {row} "):
            run_case(backend, attention.OP, bad)


def test_only_pages_that_are_read_must_exist(backend):
    case = attention.make_case("f16", 4, 2, 32, [150, 150], window=20, run=2)
    table = case.operands["kv"].table
    want = run_case(backend, attention.OP, case)["out"]
    table[0, 0] = 100  # before the window
    np.testing.assert_array_equal(run_case(backend, attention.OP, case)["out"], want)
    table[0, 2] = 100
    with pytest.raises(ParameterError, match="index row 0"):
        run_case(backend, attention.OP, case)


def test_heads_that_cannot_be_shared_are_refused(backend):
    case = attention.make_case("f32", 4, 2, 32, [5])
    q = np.ones((1, 3, 32), np.float32)
    with pytest.raises(TypeError, match="contradict"):
        run_case(
            backend, attention.OP, Case("bad", {**case.operands, "q": q}, {**case.params, "heads": 3, "stride": 96})
        )


# -- the cache


@pytest.mark.parametrize("head_dim", [8, 20, 64, 96])
@pytest.mark.parametrize("dtype", TYPES)
def test_pages_hold_what_was_put_into_them(dtype, head_dim, backend):
    if dtype == "q8_0" and head_dim % 32:
        pytest.skip("q8_0 has blocks of 32")
    host = HostKV.zeros(3, 2, head_dim, np.zeros((1, 3), np.uint32), dtype)
    host.k[:], host.v[:] = (host.stored(activations(*host.k.shape, seed=seed)) for seed in (1, 2))
    handle = backend.kv(3, 2, head_dim, backend.array(host.table), dtype)
    backend.write_kv(handle, host)
    got = backend.read_kv(handle)
    np.testing.assert_array_equal(got.k, host.k)
    np.testing.assert_array_equal(got.v, host.v)
    assert got.k.dtype == host.k.dtype


def strange_rows() -> np.ndarray:
    """(64, 64): of all sizes, zeros, subnormal numbers, codes that lie halfway."""
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((64, 64)).astype(np.float32) * 10.0 ** rng.integers(-9, 4, (64, 1)).astype(np.float32)
    rows[0], rows[1, :32], rows[2] = 0, 0, 1e-44
    rows[3] = np.repeat([0.5, 1.5, -2.5, 127.0], 16)  # the scale is 1
    rows[4] = np.linspace(-1, 1, 64) * 65536 * 127  # a scale beyond float16
    return rows


def write(backend, dtype: str, rows: np.ndarray) -> cpu.Pages:
    """The pages after rows (64, head_dim) were written as keys, and backwards as values."""
    handle = backend.kv(1, 1, rows.shape[1], backend.array(np.zeros((1, 1), np.uint32)), dtype)
    qkv = np.stack([rows, rows, rows[::-1]], axis=1)
    index = index_array([0] * 64, [0] * 64, range(64))
    case = rope_kv_write.plain_case({"qkv": qkv, "index": index, "kv": backend.read_kv(handle)})
    arrays = [backend.array(case.operands[name]) for name in ("qkv", "index", "table", "bias", "gains")]
    backend.run(rope_kv_write.OP, *arrays, handle, **case.params)
    return handle.payload


@pytest.mark.parametrize("dtype", TYPES)
def test_rows_are_stored_to_the_bit_as_numpy_does(dtype, backend):
    rows = strange_rows()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # overflow is a part of the test
        values = rows.astype(np.float16 if dtype == "f16" else np.float32)[None, None]
        if dtype == "q8_0":
            rows[4] /= 200  # the table's quantiser refuses a scale that is not finite
            values = rows[None, None]
    pages, written = PAGE_FORMATS[dtype], write(backend, dtype, rows)
    np.testing.assert_array_equal(written.k, pages.k_pages_from_values(values))
    np.testing.assert_array_equal(written.v, pages.v_pages_from_values(np.ascontiguousarray(values[:, :, ::-1])))
    if dtype == "q8_0":
        np.testing.assert_array_equal(written.v[0, 0, ::-1].reshape(-1), quants.quantize(rows, "Q8_0").reshape(-1))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_q8_0_row_that_is_not_finite_reads_as_nan(bad, backend):
    rows = np.ones((64, 64), np.float32)
    rows[3, 40] = bad
    written, pages = write(backend, "q8_0", rows), PAGE_FORMATS["q8_0"]
    for values in (pages.k_values_from_pages(written.k, 64), pages.v_values_from_pages(written.v, 64)[:, :, ::-1]):
        assert np.isnan(values[0, 0, 3, 32:]).all()
        np.testing.assert_allclose(values[0, 0, 3, :32], 1, rtol=1e-3)
        assert np.isfinite(np.delete(values[0, 0], 3, axis=0)).all()


def test_values_are_padded_with_zeros(backend):
    """Attention adds up whole vectors: what pads a value must be 0."""
    item, _, shape = kv.storage("f16", 20)
    assert shape == (64, 32) and item is np.uint16
    written = write(backend, "f16", np.ones((64, 20), np.float32))
    assert (written.v[..., :20] == np.float16(1).view(np.uint16)).all() and not written.v[..., 20:].any()


@cached
def to_halves(values, out):
    for i in range(0, values.size, 16):
        store_f16(out, i, load_f32(values, i))


def test_vectors_are_rounded_to_half_as_numpy_does():
    every_half = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32).view(np.uint32)
    ties = every_half + np.uint32(1 << 12)  # halfway to the next half, and one step to either side
    some = np.random.default_rng(0).integers(0, 2**32, 1 << 18, np.uint32)
    values = np.concatenate([some, every_half, ties, ties - 1, ties + 1]).view(np.float32)
    out = np.empty(values.size, np.uint16)
    to_halves(values, out)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # overflow is a part of the test
        want = values.astype(np.float16)
    np.testing.assert_array_equal(out.view(np.float16), want)  # a NaN is as good as another
    np.testing.assert_array_equal(np.signbit(out.view(np.float16)), np.signbit(want))


# -- rope


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("interleaved", [0, 1])
def test_rotated_keys_and_queries_are_the_reference_s_to_the_bit(dtype, interleaved, backend):
    case = rope_kv_write.make_case(dtype, 6, 6, 2, 64, 48, interleaved, bias=True)
    got, want = (run_case(b, rope_kv_write.OP, case) for b in (backend, ReferenceBackend()))
    np.testing.assert_array_equal(bits(got["qkv"]), bits(want["qkv"]))
    np.testing.assert_array_equal(got["kv"].k, want["kv"].k)
    np.testing.assert_array_equal(got["kv"].v, want["kv"].v)


@pytest.mark.parametrize("column, value", [(1, 2), (2, 192), (2, 2**32 - 1)])
def test_the_fused_op_refuses_rows_outside(column, value, backend):
    case = rope_kv_write.make_case("f16", 3, 4, 2, 32, 32, 0)
    index = case.operands["index"].copy()
    index[1, column] = value
    with pytest.raises(ParameterError, match="index row 1 "):
        run_case(backend, rope_kv_write.OP, Case("bad", {**case.operands, "index": index}, case.params))
    short = {**case.operands, "table": case.operands["table"][:64]}  # fewer angles than slots
    with pytest.raises(ParameterError, match="index row 2 "):
        run_case(backend, rope_kv_write.OP, Case("bad", short, {**case.params, "positions": 64}))
