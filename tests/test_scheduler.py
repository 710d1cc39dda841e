"""The scheduler: routing by measured costs, placement by a model's own products, and the ops on numpy arrays."""

from __future__ import annotations

import json

import numpy as np
import pytest

import wgpu_infer as wi
from wgpu_infer.backends.reference import ReferenceBackend
from wgpu_infer.calibration import Costs, load_or_measure
from wgpu_infer.contracts.host import HostAct8, HostWeight
from wgpu_infer.contracts.table import OPS
from wgpu_infer.errors import DeviceError, ParameterError, UnsupportedError
from wgpu_infer.kept import cache_dir
from wgpu_infer.llm import LLM
from wgpu_infer.scheduler import HybridScheduler

FAST_START = Costs(fixed_s=1e-6, transfer=1e12, flops=1e9, memory=1e10)
FAST_WORK = Costs(fixed_s=1e-3, transfer=1e10, flops=1e13, memory=1e12)


class Named(ReferenceBackend):
    """A reference backend under another name, that counts its ops and can be told to be slow or incapable."""

    def __init__(self, name, software=False, formats=None):
        super().__init__()
        self.name, self.is_software, self.formats = name, software, formats
        self.ran, self.closed = [], False

    def run(self, op, *operands, **params):
        self.ran.append(op.name)
        super().run(op, *operands, **params)

    def missing(self, op, fmt=None):
        return f"no {fmt}" if self.formats and fmt and fmt not in self.formats else None

    def close(self):
        self.closed = True


@pytest.fixture
def scheduler():
    made = HybridScheduler({"cpu": Named("cpu"), "webgpu": Named("webgpu", formats=["F32"])})
    made._costs = {"cpu": FAST_START, "webgpu": FAST_WORK}
    return made


@pytest.fixture
def ops(scheduler):
    wi.ops.use(scheduler)
    yield wi.ops
    wi.ops.use(None)


def test_small_ops_go_to_the_cpu_and_large_ones_to_the_gpu(ops, scheduler):
    ops.matmul(np.ones((2, 8)), np.ones((4, 8)))
    assert scheduler.backends["cpu"].ran == ["matvec"]
    ops.matmul(np.ones((256, 512)), np.ones((512, 512)))
    assert scheduler.backends["webgpu"].ran == ["matmul"]


def test_a_format_the_gpu_lacks_stays_on_the_cpu(ops, scheduler):
    w = ops.quantize(np.ones((512, 512)), "Q8_0")
    ops.matmul(np.ones((256, 512)), w)
    assert scheduler.backends["cpu"].ran == ["matmul"] and scheduler.backends["webgpu"].ran == []


def test_explain_says_where_and_why(scheduler):
    small = scheduler.explain("matmul", {"tokens": 1, "rows": 4, "cols": 8})
    large = scheduler.explain("matmul", {"tokens": 512, "rows": 4096, "cols": 4096})
    assert small.startswith("matmul: cpu") and large.startswith("matmul: webgpu") and "us" in small
    with pytest.raises(ParameterError, match="nonsense"):
        scheduler.explain("nonsense", {})
    with pytest.raises(ParameterError, match="width"):
        scheduler.explain("matmul", {"width": 3})


def test_attention_over_many_keys_is_counted(scheduler):
    sizes = {"tokens": 1, "heads": 32, "kv_heads": 8, "head_dim": 128, "table_width": 1}
    assert scheduler.explain("attention", {**sizes, "heads": 1, "kv_heads": 1}).startswith("attention: cpu")
    assert scheduler.explain("attention", {**sizes, "tokens": 512, "table_width": 64}).startswith("attention: webgpu")


@pytest.mark.parametrize("bad", [{"tokens": "x"}, {"tokens": -1}, {"rows": float("nan")}])
def test_explain_refuses_what_is_no_size(scheduler, bad):
    with pytest.raises(ParameterError):
        scheduler.explain("matmul", bad)


@pytest.mark.parametrize("backends", [{}, 5, "cpu"])
def test_a_scheduler_needs_backends(backends):
    with pytest.raises(ParameterError):
        HybridScheduler(backends)


def test_no_side_can_run_the_model():
    host = HostWeight(np.zeros(64 * 4, np.uint8), "F32", 8, 8)
    made = HybridScheduler({name: Named(name, formats=["Q4_0"]) for name in ("cpu", "webgpu")})
    with pytest.raises(DeviceError, match="no F32"):
        made.place([host], [host], 4)


def test_placement_times_the_models_own_products():
    class Slow(Named):
        def run(self, op, *operands, **params):
            sum(range(200_000))
            super().run(op, *operands, **params)

    host = HostWeight(np.zeros(64 * 4, np.uint8), "F32", 8, 8)
    made = HybridScheduler({"cpu": Slow("cpu"), "webgpu": Named("webgpu")})
    slow = made.backends["cpu"]
    assert made.place([host], [host], 4) == "webgpu"
    assert made.active.name == "webgpu" and slow.closed and "slower" in made.unavailable["cpu"]


def test_placement_leaves_out_software_adapters_and_missing_formats():
    host = HostWeight(np.zeros(64 * 4, np.uint8), "F32", 8, 8)
    made = HybridScheduler({"cpu": Named("cpu"), "webgpu": Named("webgpu", software=True)})
    assert made.place([host], [host], 4) == "cpu" and "software" in made.unavailable["webgpu"]
    made = HybridScheduler({"cpu": Named("cpu"), "webgpu": Named("webgpu", formats=["Q4_0"])})
    assert made.place([host], [host], 4) == "cpu" and "F32" in made.unavailable["webgpu"]


@pytest.mark.parametrize(
    "kind, cpu, opened",
    [("software", True, ["cpu"]), ("software", False, ["webgpu"]), ("discrete", True, ["cpu", "webgpu"])],
)
def test_a_software_adapter_is_not_even_opened_for_a_model(monkeypatch, kind, cpu, opened):
    def open_named(name, threads, adapter):
        if name == "cpu" and not cpu:
            raise DeviceError("no numba")
        return Named(name)

    monkeypatch.setattr("wgpu_infer.scheduler.open_backend", open_named)
    monkeypatch.setattr("wgpu_infer.scheduler.software_adapter", lambda _a: "soft" if kind == "software" else None)
    made = HybridScheduler(software=False)
    assert list(made.backends) == opened
    assert ("software adapter" in made.unavailable.get("webgpu", "")) == ("webgpu" not in opened)


def test_an_adapter_that_is_named_must_be_there(monkeypatch):
    """Without a name the CPU is what is left; with one that would be another device than was asked for."""

    def open_named(name, threads, adapter):
        if name == "webgpu":
            raise DeviceError(f"no WebGPU adapter is called {adapter!r}")
        return opened.append(Named(name)) or opened[-1]

    opened = []
    monkeypatch.setattr("wgpu_infer.scheduler.open_backend", open_named)
    monkeypatch.setattr("wgpu_infer.scheduler.software_adapter", lambda _a: None)
    assert list(HybridScheduler(software=False).backends) == ["cpu"] and not opened[0].closed
    with pytest.raises(DeviceError, match="'nope'"):
        HybridScheduler(software=False, adapter="nope")
    assert opened[1].closed


@pytest.mark.parametrize("adapter", ["no such adapter", 99])
def test_a_model_is_not_put_elsewhere_than_on_a_named_adapter(adapter):
    with pytest.raises(DeviceError, match=r"no WebGPU adapter|wgpu cannot be loaded"):
        LLM(adapter=adapter)


@pytest.mark.parametrize("op", OPS.values(), ids=lambda op: op.name)
def test_every_op_can_be_called(op):
    """Also those whose operands are int8 activations, read or written."""
    case = next(iter(op.cases()))
    made = HybridScheduler({"reference": ReferenceBackend()})
    made._costs["reference"] = Costs(0.0, 1.0, 1.0, 1.0)
    out = made.call(op, case.operands, case.params)
    assert [np.shape(o.codes if isinstance(o, HostAct8) else o) for o in out] == [
        tuple(spec.shape(case.params)) for spec in op.writes
    ]
    assert all((o.codes if isinstance(o, HostAct8) else o).any() for o in out)


def test_no_side_can_run_it():
    made = HybridScheduler({"cpu": Named("cpu", formats=["Q4_0"])})
    with pytest.raises(DeviceError, match="no device can run"):
        made.call(OPS["matvec"], {"w": HostWeight(np.zeros(4, np.uint8), "F32", 1, 1)}, sizes(1, 1, 1))


def sizes(tokens, rows, cols):
    return {"tokens": tokens, "rows": rows, "cols": cols, "row0": 0, "stride": rows}


def test_calibration_is_measured_once_and_survives_damage(tmp_path, monkeypatch):
    monkeypatch.setenv("WGPU_INFER_CACHE", str(tmp_path))
    backend = Named("cpu")
    first = load_or_measure(backend)
    assert min(first.fixed_s, first.transfer, first.flops, first.memory) > 0
    runs = len(backend.ran)
    assert load_or_measure(backend) == first and len(backend.ran) == runs
    file = tmp_path / "calibration.json"
    key, good = next(iter(json.loads(file.read_text()).items()))
    entries = [{"x": 1}, [1], None, {**good, "flops": 0}, {**good, "fixed_s": "x"}, {**good, "memory": float("nan")}]
    for damage in ("", "[]", "{", "[" * 200_000, *(json.dumps({key: entry}) for entry in entries)):
        file.write_text(damage)
        assert load_or_measure(backend).seconds(1e9, 1e6, 1e6) > 0
        assert json.loads(file.read_text())[key].keys() == good.keys(), "measured again and kept"
    monkeypatch.setenv("WGPU_INFER_CACHE", str(tmp_path / "calibration.json" / "not a folder"))
    assert load_or_measure(backend).flops > 0


def test_calibration_of_a_user_without_a_home(monkeypatch):
    for name in ("WGPU_INFER_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)

    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("pathlib.Path.home", no_home)
    assert cache_dir() is None and load_or_measure(Named("cpu")).flops > 0


@pytest.mark.parametrize("side", ["reference", "cpu", pytest.param("webgpu", marks=pytest.mark.webgpu)])
def test_ops_compute_what_numpy_does(side, open_once):
    wi.ops.use(made := HybridScheduler({side: open_once(side)}))
    made._costs = {side: FAST_START}
    try:
        check_ops()
    finally:
        wi.ops.use(None)


def check_ops():
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((3, 5, 64)), rng.standard_normal((7, 64))
    np.testing.assert_allclose(wi.ops.matmul(x, w), x @ w.T, atol=1e-4)
    np.testing.assert_allclose(wi.ops.matmul(x[0, 0], w), x[0, 0] @ w.T, atol=1e-4)
    e = np.exp(x - x.max(-1, keepdims=True))
    np.testing.assert_allclose(wi.ops.softmax(x), e / e.sum(-1, keepdims=True), rtol=1e-3)
    gain, bias = rng.standard_normal(64), rng.standard_normal(64)
    norm = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * gain
    np.testing.assert_allclose(wi.ops.rms_norm(x, gain), norm, atol=1e-4)
    centred = x - x.mean(-1, keepdims=True)
    norm = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * gain + bias
    np.testing.assert_allclose(wi.ops.layer_norm(x, gain, bias), norm, atol=1e-4)
    np.testing.assert_allclose(wi.ops.glu(x, x), x / (1 + np.exp(-x)) * x, atol=1e-4)
    np.testing.assert_allclose(wi.ops.activate(x, "relu2"), np.maximum(x, 0) ** 2, atol=1e-4)
    np.testing.assert_allclose(wi.ops.add(x, gain), x + gain, atol=1e-6)
    np.testing.assert_array_equal(wi.ops.argmax(x), x.argmax(-1))


@pytest.mark.parametrize("side", ["reference", "cpu", pytest.param("webgpu", marks=pytest.mark.webgpu)])
def test_attention_and_rope_equal_torch(side, open_once):
    torch = pytest.importorskip("torch", reason="the extra `hf` is not installed")
    wi.ops.use(made := HybridScheduler({side: open_once(side)}))
    made._costs = {side: FAST_START}
    rng = np.random.default_rng(2)
    q, k, v = (rng.standard_normal((70, heads, 16)).astype(np.float32) for heads in (4, 2, 2))
    a, b, c = (torch.tensor(t).transpose(0, 1)[None] for t in (q, k, v))
    want = torch.nn.functional.scaled_dot_product_attention(a, b, c, is_causal=True, enable_gqa=True)
    try:
        np.testing.assert_allclose(wi.ops.attention(q, k, v), want[0].transpose(0, 1).numpy(), atol=1e-4)
        tail = wi.ops.attention(q[-3:], k, v)
        np.testing.assert_allclose(tail, want[0].transpose(0, 1).numpy()[-3:], atol=1e-4)
        angle = np.arange(70)[:, None, None] * 10000.0 ** (-np.arange(8) / 8)
        x, y = q[..., :8], q[..., 8:]
        rotated = np.concatenate([x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)], -1)
        np.testing.assert_allclose(wi.ops.rope(q), rotated, atol=1e-4)
        np.testing.assert_array_equal(wi.ops.rope(q[40:], start=40), wi.ops.rope(q)[40:])
        far = np.cos(10**9) * q[:1, :, 0] - np.sin(10**9) * q[:1, :, 8]  # no table of a billion positions
        np.testing.assert_allclose(wi.ops.rope(q[:1], start=10**9)[..., 0], far, atol=1e-4)
    finally:
        wi.ops.use(None)


@pytest.mark.parametrize(
    "call",
    [
        lambda o: o.matmul(np.ones((2, 3)), np.ones((2, 4))),
        lambda o: o.matmul(np.float32(1), np.ones((2, 4))),
        lambda o: o.matmul("x", np.ones((2, 4))),
        lambda o: o.matmul(np.ones((2, 4)), np.ones(4)),
        lambda o: o.matmul(np.ones((2, 4)) * 1j, np.ones((2, 4))),
        lambda o: o.matmul(np.ones((0, 4)), np.ones((2, 4))),
        lambda o: o.softmax(3.0),
        lambda o: o.softmax([[1, 2], [3]]),
        lambda o: o.rms_norm(np.ones((2, 4)), np.ones(3)),
        lambda o: o.glu(np.ones(3), np.ones(4)),
        lambda o: o.activate(np.ones(3), "swish"),
        lambda o: o.add(np.ones((2, 3)), np.ones((3, 3))),
        lambda o: o.attention(np.ones((2, 3, 4)), np.ones((1, 3, 4)), np.ones((1, 3, 4))),
        lambda o: o.attention(np.ones((2, 3, 4)), np.ones((2, 2, 4)), np.ones((2, 2, 4))),
        lambda o: o.rope(np.ones((2, 3, 5))),
        lambda o: o.rope(np.ones((2, 3, 4)), start=-1),
        lambda o: o.rope(np.ones((2, 3, 4)), start=1.5),
        lambda o: o.rope(np.ones((2, 3, 4)), base=0),
        lambda o: o.softmax(np.ones(3), scale="x"),
        lambda o: o.softmax(np.ones(3), scale=np.nan),
        lambda o: o.rms_norm(np.ones((2, 4)), np.ones(4), eps=-1),
        lambda o: o.layer_norm(np.ones((2, 4)), np.ones(4), np.ones(4), eps=None),
        lambda o: o.attention(np.ones((2, 3, 4)), np.ones((2, 3, 4)), np.ones((2, 3, 4)), window=-1),
        lambda o: o.attention(np.ones((2, 3, 4)), np.ones((2, 3, 4)), np.ones((2, 3, 4)), softcap=np.nan),
        lambda o: o.activate(np.ones(3), ["silu"]),
    ],
)
def test_bad_arrays_say_so(ops, call):
    with pytest.raises(ParameterError):
        call(ops)


def test_a_format_that_cannot_be_written(ops):
    with pytest.raises(UnsupportedError, match="IQ4_XS"):
        ops.quantize(np.ones((2, 256)), "IQ4_XS")
