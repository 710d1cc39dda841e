"""What benches/ computes from measurements, on known numbers, and that its data names what exists. Nothing is timed."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from benches import (
    cpu_claims,
    cpu_memory,
    kernel_claims,
    llama_cpp_peer,
    process_claims,
    scalar_twins,
    wgpu_encode,
    wgpu_memory,
)
from benches.claim import Finding
from benches.claim_cases import attention_case, product_case
from benches.comparison import count_same, possible_rows, summarise
from benches.cpu_targets import ROWS, SHARES, TARGETS, Workload, judge, least_share, target_of
from benches.harness import Column, Report, Runs, Spread, Table, alternate, machine, spread
from benches.llama_cpp_peer import FEATURES, missing_features
from benches.model_files import model_files, split_model
from benches.neighbours import busy_ticks, process_ticks
from benches.op_calls import op_call
from benches.our_engine import make_prompts, run_ours, weight_bytes
from benches.read_rate import ReadRate, add_words, as_words, weight_arrays
from wgpu_infer import LLM
from wgpu_infer.backends.reference import ReferenceBackend
from wgpu_infer.contracts import matvec_act8
from wgpu_infer.contracts.cases import random_weight
from wgpu_infer.contracts.table import OPS

SYSTEM_INFO = "CPU : SSE3 = 1 | AVX2 = 1 | F16C = 1 | FMA = 0 | AVX512 = 1 | REPACK = 1 | "


def test_spread():
    assert spread([5.0, 1.0, 3.0]) == Spread(3.0, 1.0, 5.0)
    assert spread([4.0, 1.0, 3.0, 2.0]) == Spread(2.5, 1.0, 4.0)


def test_ratios_and_shares_are_formed_within_an_alternation():
    runs = Runs({"a": [10.0, 30.0], "b": [5.0, 10.0]}, probes=[40.0, 60.0, 20.0])
    assert runs.ratios("a", "b") == [2.0, 3.0]
    assert runs.shares("a", scale=2.0) == [20 / 50, 60 / 40]


def test_contenders_alternate_and_warm_ups_are_dropped():
    calls: list[str] = []

    def measure(name: str):
        return lambda: calls.append(name) or float(len(calls))

    runs = alternate({"a": measure("a"), "b": measure("b")}, 2, warmups=1, probe=measure("p"), pause_s=0)
    assert "".join(calls) == "ab" + "p" + "ab" + "p" + "ab" + "p"
    assert runs == Runs({"a": [4.0, 7.0], "b": [5.0, 8.0]}, probes=[3.0, 6.0, 9.0])


def test_table():
    table = Table((Column("row", 5), Column("x", 6, ".1f"), Column("share", 5, ".0%"), Column("end", 4)))
    assert table.header() == "row         x  share  end"
    assert table.line(("ab", 2.25, 0.5, "ok")) == "ab        2.2    50%  ok"
    assert table.line(("ab", None, None, "")) == "ab          -      -"


def test_report_writes_every_row(tmp_path):
    report = Report(tmp_path / "out.json", {"machine": machine()})
    for number in (1, 2):
        report.add({"row": number})
        assert json.loads(report.path.read_text())["rows"][-1] == {"row": number}
    assert json.loads(report.path.read_text())["machine"]["versions"]["numpy"] == np.__version__
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def test_targets_name_models_and_goals_that_exist():
    goals = {work.goal for work in ROWS.values()}
    for model, ratios in TARGETS.items():
        split_model(model)
        assert ratios.keys() <= goals
    for limit in cpu_memory.LIMITS.values():
        split_model(limit.model)
    for unknown in ("tinyllama-9b:Q4_0", "mini:Q9_9", "mini"):
        with pytest.raises(ValueError, match="known: "):
            split_model(unknown)


def test_targets_are_those_of_the_claim():
    model = "tinyllama-1.1b:Q4_0"
    assert [target_of(model, row, 1) for row in ROWS] == [1.35, 1.35, 2.0, None, 1.5]
    assert [target_of(model, row, 2) for row in ROWS] == [1.45, 1.45, 2.0, None, 1.5]
    assert target_of(model, "decode-0", 3) is None
    assert target_of("mini:Q4_0", "decode-0", 1) is None


@pytest.mark.parametrize(
    ("row", "threads", "ratio", "share", "read_rate", "verdict"),
    [
        ("decode-0", 2, 1.45, 0.1, 50.0, "PASS"),
        ("decode-0", 2, 1.44, 0.84, 50.0, "short"),
        ("decode-1024", 2, 1.0, 0.85, 60.0, "PASS by share"),
        ("decode-0", 2, 1.0, 0.70, 60.1, "PASS by share"),
        ("decode-0", 1, 1.0, 0.99, 50.0, "short"),
        ("batch-8", 2, 1.0, 0.99, 50.0, "short"),
        ("prefill-128", 2, 1.0, None, 50.0, "short"),
    ],
)
def test_verdicts(row, threads, ratio, share, read_rate, verdict):
    target = target_of("tinyllama-1.1b:Q4_0", row, threads)
    assert judge(row, threads, target, ratio, share, read_rate) == verdict
    assert judge(row, threads, None, ratio, share, read_rate) == ""


def test_least_share():
    assert [least_share(rate) for rate in (1.0, 60.0, 61.0)] == [0.85, 0.85, 0.70]
    assert [above for above, _ in SHARES] == sorted((above for above, _ in SHARES), reverse=True)


def test_summarise():
    runs = Runs({"wgpu_infer": [10.0, 20.0, 30.0], "llama.cpp": [10.0, 10.0, 10.0]}, probes=[40.0] * 4)
    row = summarise(runs, Workload("decode", 1, sequences=2), 4 * 10**9, 1.5)
    assert (row["ours"], row["peer"], row["ratio"]) == (20.0, 10.0, {"median": 2.0, "low": 1.0, "high": 3.0})
    assert (row["weight_gb_s"], row["R"], row["share"]) == (40.0, 40.0, 1.0)  # 10 steps/s of 4 GB each
    assert summarise(runs, Workload("prefill", 8), 4 * 10**9, None)["share"] is None


def test_count_same():
    assert count_same([[1, 2, 3], [4, 5, 6]], [[1, 2, 9], [4, 5, 6]]) == "5/6"
    assert count_same([[1, 2, 3]], [[9, 2, 3]]) == "0/3"


def test_missing_features():
    assert missing_features(SYSTEM_INFO, {"avx2", "f16c", "fma", "avx512f", "avx512vnni", "sse3"}) == [
        "FMA",
        "AVX512_VNNI",
    ]
    assert missing_features(SYSTEM_INFO, {"avx2", "f16c"}) == []
    assert missing_features("", set(FEATURES.values())) == list(FEATURES)


def test_ticks():
    assert (
        busy_ticks("cpu  1 20 300 4000 50000 6 70 800 9 10\ncpu0 5 5 5 5 5 5 5 5 5 5\n") == 1 + 20 + 300 + 6 + 70 + 800
    )
    fields = [f"{value}" for value in range(3, 30)]
    assert process_ticks(f"77 (a ) b) {' '.join(fields)}") == 14 + 15  # utime and stime are fields 14 and 15


@pytest.mark.parametrize("size", [0, 1, 3, 4, 64, 1001])
def test_words_are_all_added(size):
    words = np.random.default_rng(size).integers(0, 1 << 63, size, np.uint64)
    words.flags.writeable = False
    assert add_words(words) == np.add.reduce(words)


def test_read_rate_reads_every_word():
    rng = np.random.default_rng(1)
    arrays = [rng.integers(0, 255, size, np.uint8) for size in (1 << 20, (1 << 20) + 77)]
    probe = ReadRate(arrays, threads=2)
    assert probe.measure() > 0
    expected = sum(int(np.add.reduce(as_words(array), dtype=np.uint64)) for array in arrays)
    assert sum(probe.sums) % 2**64 == expected % 2**64
    assert probe.nbytes > sum(array.nbytes for array in arrays) - 2 * 128
    assert probe.is_cached


def test_weight_arrays_takes_each_array_once():
    tiles, blocks = np.zeros((2, 64), np.uint8), np.zeros(32, np.uint8)
    handles = [
        SimpleNamespace(payload=SimpleNamespace(packed=tiles, raw=blocks)),
        SimpleNamespace(payload=SimpleNamespace(packed=tiles)),
        SimpleNamespace(payload=SimpleNamespace(packed=None, raw=blocks)),
        SimpleNamespace(payload=SimpleNamespace(data=blocks)),
        SimpleNamespace(payload=SimpleNamespace(flat=np.zeros(4, np.float32))),
    ]
    llm = llm_with(handles)
    assert [array.ctypes.data for array in weight_arrays(llm)] == [tiles.ctypes.data, blocks.ctypes.data]
    with pytest.raises(TypeError, match="packed"):
        weight_arrays(llm_with([]))


def llm_with(handles):
    weights = SimpleNamespace(handles=lambda: iter(handles))
    return SimpleNamespace(_engine=SimpleNamespace(model=SimpleNamespace(weights=weights)))


def test_memory_is_judged_beyond_the_base():
    base, full = cpu_memory.Peak(300, 100, 10), cpu_memory.Peak(1500, 1100, 60)
    row = cpu_memory.summarise("x", cpu_memory.Limit("mini:Q4_0", 64, weights=1.0, kv=2.0, extra=5), base, full)
    assert (row["bytes"], row["limit"], row["verdict"]) == (1200, 1225, "PASS")
    assert row["growth"] == 1.2
    total = cpu_memory.summarise("x", cpu_memory.Limit("mini:Q4_0", 64, extra=1499, is_total=True), base, full)
    assert (total["bytes"], total["verdict"]) == (1500, "short")
    assert cpu_memory.TABLE.header() and "short" in cpu_memory.show(total)


def test_peak_is_at_least_what_was_touched():
    before = cpu_memory.peak_bytes()
    touched = np.ones(1 << 26, np.uint8)
    assert cpu_memory.peak_bytes() >= touched.nbytes
    assert cpu_memory.peak_bytes() >= before


def test_both_engines_run_the_same_workload(tmp_path):
    """Greedy ids of 2 sequences, again and again, from llama.cpp's process and from ours, in F32."""
    pytest.importorskip("llama_cpp")
    work, steps = Workload("decode", 5, sequences=2), 6
    with model_files(tmp_path) as files:
        path = files.path("tiny-llama:F32")
    with LLM(path, device="reference") as llm, llama_cpp_peer.LlamaCppPeer(path) as peer:
        prompts = make_prompts(work, llm.config.vocab)
        assert [len(prompt) for prompt in prompts] == [5, 5]
        assert possible_rows(llm, SimpleNamespace(rows=tuple(ROWS), tokens=steps)) == [
            "decode-0",
            "prefill-128",
            "batch-8",
        ]
        peer.prepare(prompts, steps, threads=1)
        expected = run_ours(llm, work, prompts, steps).tokens
        assert [peer.run("decode")[1] for _ in range(2)] == [expected] * 2
        assert peer.run("prefill")[1] == run_ours(llm, Workload("prefill", 5, 2), prompts, steps).tokens
        embedding = llm.gguf.tensors["token_embd.weight"].nbytes
        assert weight_bytes(llm) == sum(tensor.nbytes for tensor in llm.gguf.tensors.values()) - embedding


def test_a_peer_that_cannot_load_says_so(tmp_path):
    pytest.importorskip("llama_cpp")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF")
    with pytest.raises(RuntimeError, match="ended with status"):
        llama_cpp_peer.LlamaCppPeer(tmp_path / "broken.gguf")


# -- claims


@pytest.mark.parametrize(
    ("figure", "sign", "limit", "verdict"),
    [
        (1.5, "≥", 1.5, "HOLDS"),
        (1.49, "≥", 1.5, "FALSIFIED"),
        (2.0, "≤", 2.0, "HOLDS"),
        (2.01, "≤", 2.0, "FALSIFIED"),
        (1.0, "<", 1.0, "FALSIFIED"),
        (float("nan"), "≤", 1.0, "FALSIFIED"),
        (float("nan"), "≥", 1.0, "FALSIFIED"),
    ],
)
def test_a_claim_holds_or_is_falsified(figure, sign, limit, verdict):
    finding = Finding("x", figure, sign, limit, "ms")
    row = {"claim": "c", "others": None} | finding.row()
    assert finding.verdict == row["verdict"] == verdict
    assert verdict in cpu_claims.show(row) and f"{sign} {limit:g} ms" in cpu_claims.show(row)


@pytest.mark.parametrize(("second", "status"), [(2.0, 0), (1.0, 1)])
def test_a_falsified_claim_is_the_status(tmp_path, monkeypatch, second, status):
    def claim():
        yield Finding("first", 2.0, "≥", 1.5, "x", each=[2.0])
        yield Finding("second", second, "≥", 1.5, "x")

    monkeypatch.setitem(cpu_claims.CLAIMS, "dot", claim)
    done = CliRunner().invoke(cpu_claims.main, ["--only", "dot", "--json", str(tmp_path / "out.json")])
    assert done.exit_code == status
    assert done.output.endswith(f"{2 - status} of 2 claims hold\n")
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert [row["verdict"] for row in rows] == ["HOLDS", "FALSIFIED" if status else "HOLDS"]
    assert rows[0]["claim"] == "dot" and rows[0]["each"] == [2.0]


@pytest.mark.parametrize("n", [1, 15, 16, 63, 64, 65, 100, 129, 1000])
def test_dots_are_the_sum_of_products(n):
    rng = np.random.default_rng(n)
    x, y = rng.standard_normal((3, n)).astype(np.float32), rng.standard_normal(n).astype(np.float32)
    expected, bound = x.astype(np.float64) @ y, 1e-6 * (np.abs(x) @ np.abs(y))
    for each in (kernel_claims.simd_dot, scalar_twins.dot):
        out = np.full(3, np.nan, np.float32)
        kernel_claims.row_dots(each)(x, y, out, 2)
        assert (np.abs(out - expected) <= bound).all()


@pytest.mark.parametrize("name", ["matvec_act8 Q4_K", "matmul_act8 Q6_K", "rms_norm", "softmax", "glu", "attention"])
def test_scalar_twins_compute_what_the_contract_says(name):
    op, case, result = next((op, case, out) for found, op, case, out in kernel_claims.twins() if found == name)
    expected = OPS[op].reference(*case.operands.values(), **case.params)
    assert kernel_claims.relative_error(result, expected) < 1e-5


def test_the_scalar_dequantize_equals_the_format():
    w = random_weight("Q4_K", 3, 512, seed=4)
    out = np.empty((6, 256), np.float32)
    with scalar_twins.scalar_code():
        scalar_twins.dequantize_q4_k(w.data.reshape(6, 144), scalar_twins.HALVES, out)
    assert (out.reshape(3, 512) == w.values()).all()


def test_both_sides_of_the_dequantize_claim_do_the_same_rows():
    w = random_weight("Q4_K", 5, 512, seed=4)
    first, second = np.zeros((2, 5, 512), np.float32)
    kernel_claims.simd_dequantize(w, first, 3, 1)()
    kernel_claims.scalar_dequantize(w, second, 3)()
    assert (first[:3] == w.values()[:3]).all() and (first == second).all()


def test_scalar_code_has_no_vectors():
    def double(x):
        for i in range(x.size):
            x[i] += x[i]

    def has_vectors():
        function = scalar_twins.plain(double)
        function(np.ones(4, np.float32))
        return "x float>" in function.inspect_llvm(function.signatures[0])

    assert has_vectors()
    with scalar_twins.scalar_code():
        assert not has_vectors()
    assert has_vectors()


def test_an_op_call_runs_a_case():
    op = OPS["matmul_act8"]
    case = matvec_act8.make_case("Q4_0", 37, 512, 19)
    call = op_call(ReferenceBackend(), op, case)
    call.run()
    assert kernel_claims.relative_error(call.result(), op.reference(*case.operands.values())) < 1e-6


def test_cases_of_claims_are_those_of_the_contract():
    """Index, pages and sizes fit each other: the reference computes them, and every key counts."""
    case = attention_case(2, 70, kv_heads=4)
    first, last = OPS["attention"].reference(*case.operands.values(), **case.params)
    case.operands["kv"].v[case.operands["kv"].table[0, 1], :, 69 % 64] += 1
    moved = OPS["attention"].reference(*case.operands.values(), **case.params)
    assert (moved[0] == first).all() and (moved[1] != last).all()
    product = product_case(3, 64, tokens=2)
    assert OPS["matmul_act8"].reference(*product.operands.values()).shape == (2, 3)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux says what is resident")
def test_growth_is_what_was_touched():
    grown = process_claims.peak_growth(lambda: np.ones(1 << 26, np.uint8))
    assert 0.99 * (1 << 26) < grown < 1.2 * (1 << 26)
    assert process_claims.peak_growth(lambda: np.empty(1 << 26, np.uint8)) < 1 << 24


@pytest.mark.webgpu
def test_encode_bench_writes_both_paths(webgpu, tmp_path):
    """Two layers, one alternation; the recorded step costs well below the public API's on any machine."""
    out = tmp_path / "encode.json"
    result = CliRunner().invoke(wgpu_encode.main, ["--layers", "2", "--alternations", "1", "--json", str(out)])
    assert result.exit_code == 0, result.output
    recorded, public = json.loads(out.read_text())["rows"]
    assert (recorded["path"], public["path"]) == ("recorded", "public API")
    assert recorded["dispatches"] == public["dispatches"] > 10 and recorded["ratio"] < 0.4


def test_memory_of_a_model_is_judged_beyond_the_base():
    base = {"peak": 300, "weights": 10, "kv": 1, "pieces": 1, "tokens": 2}
    full = {"peak": 1600, "weights": 1000, "kv": 80, "pieces": 4, "tokens": 2}
    row = wgpu_memory.summarise("m", base, full)
    assert (row["ratio"], row["verdict"], row["base"], row["peak"]) == (1.3, "PASS", 300, 1600)
    assert wgpu_memory.summarise("m", base, full | {"peak": 1601})["verdict"] == "short"
    assert wgpu_memory.summarise("m", base, full | {"tokens": 1})["verdict"] == "short"
    assert wgpu_memory.show(row).split()[0] == "m"
