"""Claims about kernels: how fast they are, alone, on two threads and against plain loops, and how exact.

Kernels run as the CPU backend runs them, through a recorded program; scalar_twins.py holds the plain loops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benches import scalar_twins
from benches.claim import TOGETHER_S, Finding, Findings, rate_of
from benches.claim_cases import HEAD_DIM, HEADS, attention_case, backend_of, product_case
from benches.harness import Measure, alternate, spread
from benches.op_calls import op_call
from cpu_fallback import threads as thread_count
from cpu_fallback.dequantize import dequantize as whole_weight
from cpu_fallback.dequantize import kernel_for
from cpu_fallback.jit import kernel
from cpu_fallback.lanes import dot_f32
from wgpu_infer.contracts import matvec_act8
from wgpu_infer.contracts.cases import activations, random_weight
from wgpu_infer.contracts.contract import Case
from wgpu_infer.contracts.host import HostWeight
from wgpu_infer.contracts.table import OPS

DOT_LENGTHS = (64, 100, 128, 256, 1000, 4096, 65536)
DOT_ELEMENTS = 1 << 20  # that a measured run multiplies at least
ACCURATE_FORMATS = (
    "Q4_0",
    "Q8_0",
    "Q4_K",
    "Q6_K",
)  # codes of four bits and of eight; with minima; with scales of half blocks
Q4_K = 12  # its ggml type
CACHED_ROWS = 16  # of 4,096 values: 256 KiB
LAYERS = 8  # whose keys and values are read in turn: with 32 KV heads 134 MB, more than the caches hold


def dot() -> Findings:
    """Rows times a vector. Rows of up to 4,096 elements stay in the L1 cache."""
    contenders = {"simd": row_dots(simd_dot), "scalar": row_dots(scalar_twins.dot)}
    runs = {n: alternate(dot_measures(contenders, n)) for n in DOT_LENGTHS}
    ratios = {n: spread(runs[n].ratios("simd", "scalar")).median for n in DOT_LENGTHS}
    detail = "by length: " + ", ".join(f"{n}: {ratio:.1f}" for n, ratio in ratios.items())
    each = {n: runs[n].rates for n in DOT_LENGTHS}
    yield Finding("float32 dot ÷ scalar loop, at the worst length", min(ratios.values()), "≥", 1.5, "x", detail, each)


@kernel
def simd_dot(x, y):
    return dot_f32(x, 0, y, 0, y.size)


def row_dots(dot: Any) -> Any:
    @kernel
    def run(x, y, out, times):
        """x (rows, n), y (n) -> out (rows), so many times."""
        for _ in range(times):
            for row in range(x.shape[0]):
                out[row] = dot(x[row], y)

    return run


def dot_measures(contenders: dict[str, Any], n: int) -> dict[str, Measure]:
    x, y = activations(max(1, 4096 // n), n, seed=n), activations(n, seed=1)
    out, times = np.zeros(len(x), np.float32), DOT_ELEMENTS // x.size
    return {name: rate_of(lambda run=run: run(x, y, out, times)) for name, run in contenders.items()}


def two_threads() -> Findings:
    """128 tokens per weight: what limits is arithmetic, not memory."""
    case = product_case(4096, 4096, tokens=128)
    calls = {str(n): op_call(backend_of(n), OPS["matmul_act8"], case) for n in (1, 2)}
    runs = alternate({threads: rate_of(call.run, TOGETHER_S) for threads, call in calls.items()})
    gops = {n: 2 * 4096 * 4096 * 128 * spread(rates).median / 1e9 for n, rates in runs.rates.items()}
    detail = f"{gops['1']:.0f} GOP/s on one, {gops['2']:.0f} on two"
    efficiency = 50 * spread(runs.ratios("2", "1")).median
    yield Finding(
        "efficiency of 2 threads: matmul_act8, 4096² Q4_0, 128 tokens", efficiency, "≥", 50, "%", detail, runs.rates
    )


def accuracy() -> Findings:
    """The largest difference of a result over its largest value."""
    errors = {}
    for name, op, case, expected in twins():
        call = op_call(backend_of(2), OPS[op], case)
        call.run()
        errors[name] = relative_error(call.result(), expected)
    worst = max(errors, key=lambda name: errors[name])
    detail = f"{worst}, the worst of {len(errors)} results"
    yield Finding("difference from scalar twins, relative", errors[worst], "≤", 1e-4, "", detail, errors)


def twins() -> Iterator[tuple[str, str, Case, np.ndarray]]:
    """Name, op, case and what a plain loop makes of it."""
    for op, tokens in (("matvec_act8", 1), ("matmul_act8", 19)):
        for fmt in ACCURATE_FORMATS:
            case = matvec_act8.make_case(fmt, 200, 2048, tokens)
            yield f"{op} {fmt}", op, case, scalar_product(case)
    x, y = activations(5, 2048, seed=1), activations(2048, seed=2)
    rows = {"rows": 5, "dim": 2048, "eps": 1e-5}
    yield "rms_norm", "rms_norm", Case("", {"x": x, "gain": y}, rows), filled(x, scalar_twins.rms_norm, x, y, 1e-5)
    yield (
        "softmax",
        "softmax",
        Case("", {"x": x}, {"rows": 5, "cols": 2048, "scale": 0.5}),
        filled(x, scalar_twins.softmax, x, 0.5),
    )
    yield (
        "glu",
        "glu",
        Case("", {"gate_up": np.stack([x[0], y])[None]}, {"tokens": 1, "cols": 2048, "activation": 0}),
        filled(y, scalar_twins.silu_glu, x[0], y),
    )
    case = attention_case(1, 2048, kv_heads=4)
    call, out = scalar_attention(case)
    call()
    yield "attention", "attention", case, out


def filled(like: np.ndarray, twin: Callable, *arguments: Any) -> np.ndarray:
    out = np.empty_like(like)
    twin(*arguments, out)
    return out


def relative_error(result: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(result - expected).max() / np.abs(expected).max())


def scalar_product(case: Case) -> np.ndarray:
    x, w = case.operands["x"], case.operands["w"]
    out = np.empty((len(x.codes), w.rows), np.float32)
    scalar_twins.product(x.codes, x.scales, w.values(), out)
    return out


def scalar_attention(case: Case) -> tuple[Callable[[], None], np.ndarray]:
    """What computes a case of one token, and where its result will be, (1, heads, head_dim)."""
    kv, keys = case.operands["kv"], int(case.operands["index"][0, 2]) + 1
    q, out, scores = case.operands["q"][0], np.empty((1, HEADS, HEAD_DIM), np.float32), np.empty(keys, np.float32)
    k, v, scale = kv.k.view(np.uint16), kv.v.view(np.uint16), np.float32(case.params["scale"])
    return lambda: scalar_twins.attention(q, k, v, kv.table[0], keys, scale, scalar_twins.HALVES, scores, out[0]), out


def attention() -> Findings:
    """One token of 32 heads of 64 and 2,048 keys in float16."""
    case = attention_case(1, 2048, kv_heads=32)
    simd, scalar = op_call(backend_of(1), OPS["attention"], case).run, scalar_attention(case)[0]
    runs = alternate({"simd": rate_of(simd), "scalar": rate_of(scalar)})
    ratio = spread(runs.ratios("simd", "scalar")).median
    yield Finding("attention ÷ scalar loop, 32 KV heads, one thread", ratio, "≥", 1.5, "x", each=runs.rates)
    runs = alternate({str(kv_heads): rate_of(attention_layers(kv_heads), TOGETHER_S) for kv_heads in (32, 4)})
    for kv_heads, rates in runs.rates.items():
        ms = 1e3 / LAYERS / spread(rates).median
        yield Finding(f"attention, 2,048 keys, {kv_heads} KV heads, two threads", ms, "<", 1, "ms", each=rates)


def attention_layers(kv_heads: int) -> Callable[[], None]:
    """A call per layer, each of its own: threads are started for every one."""
    case = attention_case(1, 2048, kv_heads)
    calls = [op_call(backend_of(2), OPS["attention"], case).run for _ in range(LAYERS)]

    def work() -> None:
        for call in calls:
            call()

    return work


def dequantize() -> Findings:
    """A Q4_K weight to float32 in memory; against the loop, 16 rows at a time, which stay in the L2 cache."""
    w = random_weight("Q4_K", 4096, 4096, seed=1)
    out = np.zeros((w.rows, w.cols), np.float32)
    with scalar_twins.scalar_code():
        scalar_dequantize(w, out, rows=1)()
    contenders = {
        "two threads": simd_dequantize(w, out, w.rows, 2),
        "one": simd_dequantize(w, out, w.rows, 1),
        "two, into memory that is new each time": lambda: whole_weight(w.data, Q4_K, w.rows, w.cols, 2),
        "scalar loop": scalar_dequantize(w, out, w.rows),
    }
    runs = alternate({name: rate_of(work, TOGETHER_S) for name, work in contenders.items()})
    rates = {name: spread(values).median * out.nbytes / 1e9 for name, values in runs.rates.items()}
    detail = ", ".join(f"{name}: {rate:.1f}" for name, rate in rates.items())
    yield Finding("Q4_K to float32, 4096², two threads", rates["two threads"], "≥", 10, "GB/s", detail, runs.rates)
    cached = {"simd": simd_dequantize(w, out, CACHED_ROWS, 1), "scalar": scalar_dequantize(w, out, CACHED_ROWS)}
    runs = alternate({name: rate_of(work) for name, work in cached.items()})
    nbytes = CACHED_ROWS * w.cols * 4 / 1e9
    detail = ", ".join(f"{name} {spread(values).median * nbytes:.1f} GB/s" for name, values in runs.rates.items())
    ratio = spread(runs.ratios("simd", "scalar")).median
    yield Finding("Q4_K to float32 ÷ scalar loop, in the cache, one thread", ratio, "≥", 4, "x", detail, runs.rates)


def simd_dequantize(w: HostWeight, out: np.ndarray, rows: int, threads: int) -> Callable[[], None]:
    """What dequantizes the first rows of a Q4_K weight into memory that is there."""
    thread_count.prefer_omp()  # as the backend does
    kernel, part = kernel_for(Q4_K), w.slice_rows(0, rows).data

    def work() -> None:
        thread_count.use(threads)
        kernel(part, rows, w.cols, out[:rows])

    return work


def scalar_dequantize(w: HostWeight, out: np.ndarray, rows: int) -> Callable[[], None]:
    blocks = w.slice_rows(0, rows).data.reshape(-1, 144)
    target = out[:rows].reshape(-1, 256)
    return lambda: scalar_twins.dequantize_q4_k(blocks, scalar_twins.HALVES, target)


CLAIMS: dict[str, Callable[[], Findings]] = {
    "dot": dot,
    "two-threads": two_threads,
    "accuracy": accuracy,
    "attention": attention,
    "dequantize": dequantize,
}
