"""The WebGPU backend beyond single cases: its variants, split weights, determinism, queueing, memory."""

from __future__ import annotations

import dataclasses
import gc
import threading

import numpy as np
import pytest
from op_runner import check_case, run_case
from test_ops import CASES, case_format

from wgpu_infer.backends.webgpu import variants
from wgpu_infer.backends.webgpu.backend import WebGPUBackend
from wgpu_infer.backends.webgpu.caps import LIMITS, WEBGPU_MINIMUM
from wgpu_infer.backends.webgpu.pack import LAYOUTS
from wgpu_infer.backends.webgpu.recorder import MAX_QUEUED
from wgpu_infer.backends.webgpu.vendors import VENDORS
from wgpu_infer.contracts import attention, glu, matvec, matvec_act8, rope_kv_write
from wgpu_infer.contracts.cases import activations, index_array, random_weight
from wgpu_infer.contracts.contract import Case
from wgpu_infer.contracts.host import HostAct8, HostKV
from wgpu_infer.contracts.table import OPS
from wgpu_infer.errors import OutOfMemoryError, ParameterError, UnsupportedError
from wgpu_infer.formats import quants

pytestmark = pytest.mark.webgpu

SPLIT = 16 << 10  # bytes of a weight per binding: several pieces for most cases' weights
VARIANTS = {
    "tree-split": {"checked": True, "lowered": {"kind": "discrete", "subgroups": False, "max_binding": SPLIT}},
    "unchecked": {"checked": False},
}
DOT_VARIANTS = {  # for the ops with a weight, whose variants are most
    "float-f16": {"kind": "discrete", "packed_dot": False},
    "packed-plain": {"kind": "discrete", "f16": False, "textures": True},
    "smallest": {**WEBGPU_MINIMUM, "max_binding": 16 << 20, "f16": False, "subgroups": False, "textures": False},
}
DOTS = [param for param in CASES if param.values[0].weight is not None]


@pytest.fixture(scope="module", params=VARIANTS)
def backend(request, open_once):
    open_once("webgpu")  # skips, or fails, where there is no adapter
    with WebGPUBackend(**VARIANTS[request.param]) as opened:
        yield opened


@pytest.mark.parametrize("op, case", CASES)
def test_case_on_variant(op, case, backend):
    if reason := backend.missing(op, case_format(case)):
        pytest.skip(f"docs/ops.md lists it as missing: {reason}")
    check_case(backend, op, case)


@pytest.fixture(scope="module", params=VENDORS)
def vendor(request, open_once):
    """A backend that runs a vendor's defaults within the limits that any device has."""
    open_once("webgpu")
    with WebGPUBackend(lowered={**WEBGPU_MINIMUM, "kind": "discrete", "vendor": request.param}) as opened:
        assert opened.caps.vendor == request.param
        yield opened


@pytest.mark.parametrize("op, case", [p for p in CASES if p.values[0].name in variants.SPECIAL][::5])
def test_vendors_defaults(op, case, vendor):
    check_case(vendor, op, case)


@pytest.fixture(scope="module", params=DOT_VARIANTS)
def lowered(request, open_once):
    open_once("webgpu")
    with WebGPUBackend(lowered=DOT_VARIANTS[request.param]) as opened:
        yield opened


@pytest.mark.parametrize("op, case", DOTS)
def test_dots_on_lowered_devices(op, case, lowered):
    check_case(lowered, op, case)


def test_lowered_devices_are_what_they_say(lowered):
    asked = next(v for v in DOT_VARIANTS.values() if v.items() <= dataclasses.asdict(lowered.caps).items())
    for name, limit in LIMITS.items():
        if name in asked:
            assert lowered.device.limits[limit] == asked[name]
    assert lowered.can_act8("Q4_0") == lowered.caps.packed_dot and not lowered.can_act8("F16")


@pytest.mark.parametrize("vendor", ["software", *VENDORS])
@pytest.mark.parametrize("op", ["matvec", "matmul", "matvec_act8", "matmul_act8"])
def test_every_candidate_is_right_and_adds_alike(webgpu, monkeypatch, op, vendor):
    """Whatever tuning picks; all of one shader and number of lanes give the same bits."""
    case = next(c for c in OPS[op].cases() if c.id == {"matvec": "Q4_0-5x4096-11"}.get(op, c.id))
    is_software = vendor == "software"
    about = {"kind": "software"} if is_software else {"kind": "discrete", "vendor": vendor}
    caps, results = dataclasses.replace(webgpu.caps, **about), {}
    for variant in variants.candidates(OPS[op], case.operands["w"].format, case.params, caps):
        monkeypatch.setattr(webgpu.choices, "pick", lambda *_, variant=variant: variant)
        check_case(webgpu, OPS[op], case)
        lanes = dict(variant.constants).get("LANES")
        results.setdefault((variant.shader, lanes), []).append(run_case(webgpu, OPS[op], case)["out"])
    for first, *others in results.values():
        assert all(np.array_equal(first, other) for other in others)


def test_a_weight_above_16_mib_is_split(webgpu):
    host = random_weight("F32", 9000, 512, 1)  # 17.6 MiB
    x = activations(2, 512, seed=4)
    with WebGPUBackend(lowered=DOT_VARIANTS["smallest"]) as small:
        assert len(small.weight(host).payload) == 2
        np.testing.assert_array_equal(
            run_dots(small, "matvec", host, x)[:, ::500], run_dots(webgpu, "matvec", host, x)[:, ::500]
        )


def test_variants_are_what_they_say(backend):
    is_split = backend.caps.max_binding == SPLIT
    assert backend.device.checked == is_split
    assert backend.caps.subgroups == (not is_split and "subgroup" in backend.device.features)


def run_dots(backend, op, host, x) -> np.ndarray:
    tokens, rows = len(x), host.rows
    out = backend.empty((tokens, rows))
    params = {"tokens": tokens, "rows": rows, "cols": host.cols, "row0": 0, "stride": rows}
    backend.run(OPS[op], backend.array(x), backend.weight(host), out, **params)
    return backend.read(out, (tokens, rows))


@pytest.mark.parametrize("fmt", ["F32", "F16", "Q8_0", "Q4_0", "Q4_K", "Q6_K"])
@pytest.mark.parametrize("op, tokens", [("matvec", 19), ("matmul", 70)])
def test_a_token_s_result_is_the_same_alone_and_in_any_batch(op, tokens, fmt, backend):
    host = random_weight(fmt, 70, 1280, 1)
    x = activations(tokens, 1280, seed=2)
    together = run_dots(backend, op, host, x)
    for start, stop in ((0, 1), (3, 5), (2, 9), (tokens - 1, tokens), (0, 17)):
        np.testing.assert_array_equal(run_dots(backend, op, host, x[start:stop]), together[start:stop])


@pytest.mark.parametrize("fmt", ["Q4_0", "Q4_K", "Q5_K", "Q6_K", "Q2_K", "MXFP4"])
@pytest.mark.parametrize("op, tokens", [("matvec_act8", 19), ("matmul_act8", 70)])
def test_int8_results_are_the_same_alone_and_in_any_batch(op, tokens, fmt, backend):
    host = random_weight(fmt, 70, 1280, 1)
    x = HostAct8.of(activations(tokens, 1280, seed=2))
    together = run_act8_dots(backend, op, host, x)
    for start, stop in ((0, 1), (3, 5), (2, 9), (tokens - 1, tokens), (0, 17)):
        part = HostAct8(x.codes[start:stop], x.scales[start:stop])
        np.testing.assert_array_equal(run_act8_dots(backend, op, host, part), together[start:stop])


def run_act8_dots(backend, op, host, x) -> np.ndarray:
    out = backend.empty((len(x.codes), host.rows))
    x8 = backend.act8(*x.shape)
    backend.write_act8(x8, x)
    params = {"tokens": len(x.codes), "rows": host.rows, "cols": host.cols, "row0": 0, "stride": host.rows}
    backend.run(OPS[op], x8, backend.weight(host), out, **params)
    return backend.read(out, out.shape)


def test_half_sums_are_those_of_the_codes(backend):
    """Ops read them instead of adding codes up; no other test looks at what `quantize` writes there."""
    x = activations(3, 160, seed=4)
    x8 = backend.act8(3, 160)
    backend.run(OPS["quantize"], backend.array(x), x8, tokens=3, cols=160)
    written = [backend.runtime.buffers.read(x8.payload[2], 3 * 5 * 4)]
    backend.write_act8(x8, HostAct8.of(-x))
    written.append(backend.runtime.buffers.read(x8.payload[2], 3 * 5 * 4))
    codes = backend.read_act8(x8, 3).sums
    np.testing.assert_array_equal(written[1].view(np.int16).reshape(codes.shape), codes)
    np.testing.assert_array_equal(written[0].view(np.int16).reshape(codes.shape), -codes)


def test_attention_of_a_token_is_the_same_alone_and_in_a_batch(backend):
    case = attention.make_case("f16", 4, 2, 64, [200, 63, 64, 129])
    together = run_case(backend, OPS["attention"], case)["out"]
    size = 4 * 64
    for t in range(4):
        operands = dict(case.operands, q=case.operands["q"][t : t + 1], index=case.operands["index"][t : t + 1])
        alone = run_case(backend, OPS["attention"], Case("one", operands, {**case.params, "tokens": 1}))["out"]
        np.testing.assert_array_equal(alone[:size], together[t * size : (t + 1) * size])


def test_split_weights_give_the_same_bits(webgpu):
    """Rows are independent, so pieces must not show; the last piece is a short one."""
    with WebGPUBackend(lowered={"max_binding": SPLIT}) as split:
        for fmt in ("F32", "Q8_0", "Q4_K"):
            host = random_weight(fmt, 101, 512, 3)
            pieces = split.weight(host).payload
            assert len(pieces) > 1 and [p.row0 for p in pieces] == list(np.cumsum([0] + [p.rows for p in pieces[:-1]]))
            assert all(p.codes.size <= SPLIT for p in pieces) and sum(p.rows for p in pieces) == 101
            x = activations(9, 512, seed=4)
            for op in ("matvec", "matmul"):
                np.testing.assert_array_equal(run_dots(split, op, host, x), run_dots(webgpu, op, host, x))
            index = index_array([100, 0, 57, 3])
            rows = []
            for backend in (split, webgpu):
                out = backend.empty((4, 512))
                params = {"tokens": 4, "rows": 101, "cols": 512, "row0": 0}
                backend.run(OPS["embedding"], backend.array(index), backend.weight(host), out, **params)
                rows.append(backend.read(out, (4, 512)))
            np.testing.assert_array_equal(*rows)


def test_a_row_that_cannot_be_bound_is_an_error(webgpu):
    with (
        WebGPUBackend(lowered={"max_binding": 1024}) as small,
        pytest.raises(OutOfMemoryError, match="one row takes 2048 bytes"),
    ):
        small.weight(random_weight("F32", 2, 512, 0))


def test_uploads_in_several_chunks(webgpu, monkeypatch):
    monkeypatch.setattr("wgpu_infer.backends.webgpu.weights.UPLOAD_BYTES", 3000)
    for fmt in ("Q8_0", "Q4_K", "Q5_0"):
        host = random_weight(fmt, 45, 512, 5)
        x = activations(2, 512, seed=1)
        want = x.astype(np.float64) @ host.values().astype(np.float64).T
        np.testing.assert_allclose(run_dots(webgpu, "matvec", host, x), want, atol=1e-4 * np.abs(want).max())


@pytest.mark.parametrize("chunk", [64, 4096])
def test_writes_and_reads_in_several_chunks(webgpu, monkeypatch, chunk):
    monkeypatch.setattr("wgpu_infer.backends.webgpu.buffers.CHUNK", chunk)
    monkeypatch.setattr("wgpu_infer.backends.webgpu.buffers.UNWAITED", 4 * chunk)
    values = np.arange(5003, dtype=np.uint32)
    np.testing.assert_array_equal(webgpu.read(webgpu.array(values), values.shape), values)


def test_arrays_are_zeroed_and_partly_written_and_read(webgpu):
    array = webgpu.empty((3, 5))
    np.testing.assert_array_equal(webgpu.read(array, (3, 5)), np.zeros((3, 5), np.float32))
    webgpu.write(array, np.arange(7, dtype=np.float32))
    np.testing.assert_array_equal(webgpu.read(array, (2, 4)).reshape(-1), [0, 1, 2, 3, 4, 5, 6, 0])
    with pytest.raises(ValueError, match="do not fit"):
        webgpu.write(array, np.zeros(17, np.float32))


def test_order_of_writes_runs_and_reads(webgpu):
    """A write between two runs lands between them, however they are queued."""
    x, y = webgpu.array(np.zeros(8, np.float32)), webgpu.array(np.ones(8, np.float32))
    webgpu.run(OPS["add"], x, y, n=8, period=8)
    webgpu.write(y, np.full(8, 10, np.float32))
    webgpu.run(OPS["add"], x, y, n=8, period=8)
    webgpu.flush()
    webgpu.write(y, np.full(8, 100, np.float32))
    webgpu.run(OPS["add"], x, y, n=8, period=8)
    np.testing.assert_array_equal(webgpu.read(x, (8,)), np.full(8, 111, np.float32))


def test_long_queues_are_submitted_in_parts(webgpu):
    x, y = webgpu.array(np.zeros(1, np.float32)), webgpu.array(np.ones(1, np.float32))
    count = MAX_QUEUED + 100
    for _ in range(count):
        webgpu.run(OPS["add"], x, y, n=1, period=1)
    assert webgpu.runtime.recorder.queued < MAX_QUEUED
    assert webgpu.read(x, (1,))[0] == count


def test_threads_take_turns(webgpu):
    wrong = []

    def work(seed: int) -> None:
        for i in range(10):
            x = webgpu.array(np.full(100, seed, np.float32))
            webgpu.run(OPS["add"], x, webgpu.array(np.full(100, i, np.float32)), n=100, period=100)
            if not (webgpu.read(x, (100,)) == seed + i).all():
                wrong.append((seed, i))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong and not any(thread.is_alive() for thread in threads)


def test_dropped_arrays_are_freed(webgpu):
    """Nothing keeps a buffer but its handle: not the cache of bind groups."""
    pipelines = webgpu.runtime.pipelines
    gc.collect()
    pipelines.drop_dead()
    before = len(pipelines._groups)
    arrays = [webgpu.empty((4,)) for _ in range(20)]
    for array in arrays[1:]:
        webgpu.run(OPS["add"], arrays[0], array, n=4, period=4)
    assert len(pipelines._groups) == before + 19
    webgpu.run(OPS["add"], arrays[0], arrays[1], n=4, period=4)
    assert len(pipelines._groups) == before + 19, "the same buffers are bound by the same group"
    del arrays, array
    gc.collect()
    pipelines.drop_dead()
    assert len(pipelines._groups) == before


def test_every_format_runs(webgpu):
    assert set(LAYOUTS) == set(quants.FORMATS)
    for fmt in quants.FORMATS:
        assert webgpu.can_run(OPS["matvec"], fmt)
    assert webgpu.can_run(OPS["matvec"]) and webgpu.can_run(OPS["attention"], "f16")


def test_missing_says_what_is_missing(webgpu, monkeypatch):
    """Reasons come from the files that are not there and the table of packings."""
    from wgpu_infer.backends.webgpu import shader

    assert "kv_f8.wgsl" in (webgpu.missing(OPS["attention"], "f8") or "")
    assert "quant_q9.wgsl" in (webgpu.missing(OPS["matvec"], "Q9") or "")
    assert "nosuch.wgsl" in (webgpu.missing(dataclasses.replace(OPS["add"], name="nosuch")) or "")
    host = random_weight("Q4_0", 2, 64, 0)
    monkeypatch.delitem(LAYOUTS, "Q4_0")
    assert webgpu.missing(OPS["matvec"], "Q4_0") == "no packing is known for Q4_0"
    with pytest.raises(UnsupportedError, match=r"blk.0 in Q4_0 does not run on webgpu: no packing is known"):
        webgpu.weight(host, "blk.0")
    monkeypatch.setattr(shader, "path_of", lambda name, shared=False: shader.shader_root() / "gone.wgsl")
    with pytest.raises(UnsupportedError, match=r"matvec with Q8_0 does not run on webgpu: .*quant_q8_0\.wgsl"):
        webgpu.require(OPS["matvec"], "Q8_0")


REFUSED = [("f16", 6, UnsupportedError), ("f32", 260, UnsupportedError), ("q8_0", 48, ParameterError)]


@pytest.mark.parametrize("dtype, head_dim, error", [*REFUSED, ("f8", 64, ParameterError)])
def test_head_dimensions_that_do_not_run_are_refused(webgpu, dtype, head_dim, error):
    with pytest.raises(error, match=str(head_dim) if dtype != "f8" else "f8"):
        webgpu.kv(2, 1, head_dim, webgpu.empty((1, 2), np.uint32), dtype)


HALF_EDGES = np.array(
    [0.0, -0.0, 2.0**-24, 2.0**-25, 1.5 * 2.0**-25, -(2.0**-14), 2.0**-14 * (1 - 2.0**-11), 2.0**-14 * (1 - 2.0**-12),
     65504.0, 65519.0, 65520.0, -1e6, 1.0 + 2.0**-11, 1.0 + 3 * 2.0**-11, 1e-10, 3.1415927],
    np.float32,
)  # fmt: skip


@pytest.mark.parametrize("dtype", ["f16", "q8_0"])
@pytest.mark.filterwarnings("ignore:overflow")
def test_stored_keys_equal_numpy_s_rounding(webgpu, dtype):
    """Bit for bit, over the edges of f16 and values of every magnitude; q8_0 blocks hold ties and zeros."""
    rng = np.random.default_rng(0)
    magnitudes = 2.0 ** rng.integers(-30, 17, (48, 1, 1)) if dtype == "f16" else 2.0 ** rng.integers(-20, 8, (48, 1, 1))
    k = (rng.standard_normal((48, 2, 32)) * magnitudes).astype(np.float32)
    if dtype == "f16":
        k[0, 0, :16], k[0, 1, :16] = HALF_EDGES, -HALF_EDGES
    else:
        k[0], k[1, 0] = 0.0, (np.arange(32) - 16) / 2  # halves of a step once the largest is 127
        k[1, 0, 0] = 127
    table = np.zeros((1, 1), np.uint32)
    operands = {
        "qkv": np.concatenate([k, k, -k], axis=1),
        "index": index_array([0] * 48, positions=range(48)),
        "kv": HostKV.zeros(1, 2, 32, table, dtype),
    }
    check_case(webgpu, OPS["rope_kv_write"], rope_kv_write.plain_case(operands))


def test_kv_pages_survive_write_and_read(webgpu):
    for dtype in ("f32", "f16", "q8_0"):
        table = np.array([[1, 0]], np.uint32)
        host = attention.filled_kv(2, 3, 64, table, dtype, seed=1)
        kv = webgpu.kv(2, 3, 64, webgpu.array(table), dtype)
        webgpu.write_kv(kv, host)
        again = webgpu.read_kv(kv)
        np.testing.assert_array_equal(again.k, host.k)
        np.testing.assert_array_equal(again.v, host.v)
        np.testing.assert_array_equal(again.table, table)
        assert again.k.dtype == host.k.dtype


def test_a_position_beyond_the_table_writes_nothing(webgpu):
    table = webgpu.array(np.zeros((1, 1), np.uint32))
    kv = webgpu.kv(1, 1, 32, table, "f32")
    qkv = np.ones((1, 3, 32), np.float32)
    case = rope_kv_write.plain_case({"qkv": qkv, "index": index_array([0], positions=[64]), "kv": webgpu.read_kv(kv)})
    handles = [webgpu.array(case.operands[name]) for name in ("qkv", "index", "table", "bias", "gains")]
    webgpu.run(OPS["rope_kv_write"], *handles, kv, **case.params)
    assert not webgpu.read_kv(kv).k.any()


def test_attention_over_32k_keys(webgpu):
    """No invocation's loops may reach the 65,535 trips after which some adapters cut it off."""
    case = attention.make_case("f16", 1, 1, 128, [32767])
    check_case(webgpu, OPS["attention"], case)


def test_dots_over_many_columns(webgpu):
    """As above; 53,248 columns are the most that a known model has."""
    for op in ("matvec", "matmul"):
        check_case(webgpu, OPS[op], matvec.make_case("Q8_0", 3, 53248, 33))
        check_case(webgpu, OPS[f"{op}_act8"], matvec_act8.make_case("Q8_0", 3, 53248, 33))


@pytest.mark.parametrize("op", ["argmax", "softmax", "rms_norm", "glu", "activate", "add"])
def test_nan_and_infinity_come_through(webgpu, op):
    x = activations(2, 64, seed=8)
    x[0, 3], x[1, 5] = np.nan, np.inf
    flat = {"n": 128, "activation": 0}
    operands, params = {
        "argmax": ({"x": x}, {"rows": 2, "cols": 64}),
        "softmax": ({"x": x[:1]}, {"rows": 1, "cols": 64, "scale": 1.0}),
        "rms_norm": ({"x": x[:1], "gain": np.ones(64, np.float32)}, {"rows": 1, "dim": 64, "eps": 1e-5}),
        "glu": ({"gate_up": glu.beside(x, np.ones_like(x))}, {"tokens": 2, "cols": 64, "activation": 0}),
        "activate": ({"x": x.reshape(-1)}, {**flat, "activation": 3}),
        "add": ({"x": x.reshape(-1), "y": np.ones(1, np.float32)}, {"n": 128, "period": 1}),
    }[op]
    with np.errstate(invalid="ignore"):
        check_case(webgpu, OPS[op], Case("special", operands, params))


def test_calls_that_break_the_contract_are_refused(webgpu):
    x = webgpu.empty((4,))
    with pytest.raises(TypeError, match="2 operands, 1 were given"):
        webgpu.run(OPS["add"], x, n=4, period=4)
    with pytest.raises(TypeError, match="parameters"):
        webgpu.run(OPS["add"], x, x, n=4)
