"""The CPU backend: twins against the contract, determinism, refusals, and starting up in a hostile environment."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from op_runner import run_case

from wgpu_infer.backends import cpu, cpu_operands
from wgpu_infer.contracts import attention, embedding, gather_rows, matmul, matvec, rope, rope_kv_write
from wgpu_infer.contracts.cases import activations, index_array, random_weight
from wgpu_infer.contracts.contract import Op, lower_cpu
from wgpu_infer.contracts.host import HostAct8, HostKV, HostWeight
from wgpu_infer.contracts.matvec_act8 import FLOATS
from wgpu_infer.contracts.table import OPS
from wgpu_infer.errors import DeviceError, OutOfMemoryError, ParameterError, UnsupportedError
from wgpu_infer.formats import quants

# What a GPU does op by op and the CPU in one: attention splits itself, sampling/chain.py picks tokens.
ELSEWHERE = {"attention_split", "attention_reduce", "attention_reduce_act8"}
ELSEWHERE |= {"penalise", "peaks", "sample", "sample_wide", "advance"}  # on the CPU sampling/chain.py picks
TWINS = {name: op for name, op in OPS.items() if name not in ELSEWHERE}
CASES = [pytest.param(op, case, id=f"{op.name}-{case.id}") for op in TWINS.values() for case in op.cases()]


@pytest.fixture(scope="module")
def backend():
    return cpu.CPUBackend()


# -- the contract


@pytest.mark.parametrize("op", TWINS.values(), ids=TWINS.keys())
def test_a_twin_takes_what_the_contract_lowers_to(op):
    module = cpu.find_module(op.name)
    workspace = ["workspace"] if hasattr(module, "stages") else []
    for function in getattr(module, "stages", [cpu.find_twin(op.name)]):
        names = list(inspect.signature(function.py_func).parameters)
        assert names == [*lower_cpu(op), *workspace, "part", "parts", "scratch"]
    assert cpu.find_twin(op.name).py_func.__name__ == op.name


@pytest.mark.parametrize("op", TWINS.values(), ids=TWINS.keys())
def test_nothing_is_missing(op, backend):
    for fmt in (None, *quants.FORMATS, "f16", "f32", "q8_0"):
        if fmt in FLOATS and op.name in ("matvec_act8", "matmul_act8"):
            assert fmt in backend.missing(op, fmt), "float weights take float activations"
        else:
            assert backend.missing(op, fmt) is None


def test_what_has_no_twin_is_missing(backend):
    op = Op(**{**vars(OPS["add"]), "name": "kv"})  # a module of cpu_fallback, but no op
    assert "kv.py" in backend.missing(op)
    with pytest.raises(UnsupportedError, match="kv"):
        backend.run(op, backend.empty((4,)), backend.empty((4,)), n=4, period=4)


def test_a_twin_is_compiled_once(backend):
    from cpu_fallback import entry

    for op in (OPS["rope"], OPS["rms_norm"], OPS["glu_act8"]):
        for case in op.cases():
            run_case(backend, op, case)
        assert len([kinds for twin, kinds in entry.ENTRIES if twin is cpu.find_twin(op.name)]) == 1
    for fmt in ("F16", "Q4_0"):
        for tokens in (1, 2, 9):
            run_case(backend, matmul.OP, matvec.make_case(fmt, 37, 512, tokens))
        twin = cpu.find_twin("matmul").twin(quants.get_format(fmt).ggml_type)
        assert len([kinds for each, kinds in entry.ENTRIES if each is twin]) == 1


def test_a_table_of_rows_stays_where_it_is_and_a_factor_is_packed(backend):
    raw = random_weight("Q4_K", 3, 512, 0)
    table, factor = backend.weight(raw, rows_only=True).payload, backend.weight(raw).payload
    assert np.shares_memory(table.raw, raw.data) and not table.raw.flags.writeable and raw.data.flags.writeable
    assert table.packed is None and not np.shares_memory(factor.packed, raw.data)
    assert factor.packed.ctypes.data % 64 == 0
    shifted = np.zeros(4 * 8 + 1, np.uint8)[1:]
    moved = backend.weight(HostWeight(shifted, "F32", 1, 8), rows_only=True).payload.raw
    assert moved.ctypes.data % 4 == 0
    with pytest.raises(TypeError, match="rows_only"):
        x, out = backend.empty((1, 512)), backend.empty((1, 3))
        w = backend.weight(raw, "table", rows_only=True)
        backend.run(matvec.OP, x, w, out, tokens=1, rows=3, cols=512, row0=0, stride=3)


# -- programs


def test_a_program_runs_what_was_recorded_as_often_as_asked(backend):
    add = OPS["add"]
    x, y = backend.array(np.zeros(8, np.float32)), backend.array(np.ones(8, np.float32))

    def build():
        backend.run(add, x, y, n=8, period=8)
        backend.run(add, y, x, n=8, period=8)

    program = backend.program(build)
    assert (backend.read(x, (8,)) == 0).all(), "recording computes nothing"
    program()
    assert (backend.read(x, (8,)) == 1).all() and (backend.read(y, (8,)) == 2).all()
    program()
    assert (backend.read(x, (8,)) == 3).all() and (backend.read(y, (8,)) == 5).all()


def test_a_program_that_fails_says_where_and_can_run_again(backend):
    w, out = backend.weight(random_weight("Q8_0", 4, 64, 1)), backend.empty((1, 64))
    index = backend.array(index_array([9]))
    program = backend.program(lambda: backend.run(embedding.OP, index, w, out, tokens=1, rows=4, cols=64, row0=0))
    with pytest.raises(ParameterError, match="embedding: index row 0"):
        program()
    backend.write(index, index_array([3]))
    program()
    assert backend.read(out, (64,)).any()


def test_a_program_that_cannot_be_recorded_leaves_nothing_behind(backend):
    x = backend.empty((8,))
    with pytest.raises(TypeError):
        backend.program(lambda: backend.run(OPS["add"], x, n=8, period=8))
    backend.run(OPS["add"], x, x, n=8, period=8)


def test_only_dependent_steps_wait():
    from cpu_fallback.program import Step, waits

    def step(reads, writes, columns=None):
        return Step(None, (), [], 1, frozenset(reads), frozenset(writes), 0, columns=columns)

    norm, q, k = step("x", "n"), step("n", "q"), step("n", "k")
    rope, attention, new_norm = step("q", "q"), step("qk", "a"), step("a", "n")
    assert waits([norm, q, k, rope, attention, new_norm]) == [-1, 0, 0, 1, 3, 4]
    assert waits([q, step("z", "n")]) == [-1, 0], "what is read may not be written before it has been read"
    assert waits([q, step("z", "q")]) == [-1, 0], "two writers keep their order"
    qk, v, over = (step("n", "o", ("o", *columns)) for columns in ((0, 48), (48, 64), (40, 50)))
    assert waits([norm, qk, v, step("o", "o")]) == [-1, 0, 0, 2], "other columns of one array"
    assert waits([norm, qk, over]) == [-1, 0, 1] and waits([qk, step("z", "o", ("p", 48, 64))]) == [-1, 0]


def test_products_of_one_output_do_not_wait_for_each_other(backend):
    """As those of a Q4_K_M layer's queries and keys, and of its values."""
    x, out = backend.empty((1, 64)), backend.empty((1, 48))
    weights = [backend.weight(random_weight(fmt, 24, 64, 1)) for fmt in ("Q4_0", "Q8_0")]

    def products():
        for row0, w in zip((0, 24), weights, strict=True):
            backend.run(matvec.OP, x, w, out, tokens=1, rows=24, cols=64, row0=row0, stride=48)

    assert backend.program(products).args[0].ops[:, 3].tolist() == [-1, -1]


def test_every_part_is_done_once_by_any_number_of_threads(backend):
    """More parts than threads, fewer, and none, on a program of many steps."""
    if backend._kernels.threads.most() < 2:
        pytest.skip("numba started one thread only")
    two = cpu.CPUBackend(threads=2)
    for size in (1, 3, 5000):
        x, one = two.array(np.zeros(size, np.float32)), two.array(np.ones(size, np.float32))

        def build(x=x, one=one, size=size):
            for _ in range(50):
                two.run(OPS["add"], x, one, n=size, period=size)

        program = two.program(build)
        for _ in range(20):
            program()
        assert (two.read(x, (size,)) == 1000).all()


# -- determinism


@pytest.mark.parametrize("op, case", CASES)
def test_the_number_of_threads_changes_nothing(op, case, backend, monkeypatch):
    if backend._kernels.threads.most() < 2:
        pytest.skip("numba started one thread only")
    monkeypatch.setattr(cpu, "SERIAL_BYTES", 0)
    one, two = run_case(cpu.CPUBackend(threads=1), op, case), run_case(cpu.CPUBackend(threads=2), op, case)
    for name, value in one.items():
        if isinstance(value, HostKV):
            np.testing.assert_array_equal(value.k, two[name].k)
            np.testing.assert_array_equal(value.v, two[name].v)
        elif isinstance(value, HostAct8):
            np.testing.assert_array_equal(value.codes, two[name].codes)
            np.testing.assert_array_equal(value.scales.view(np.uint32), two[name].scales.view(np.uint32))
        else:
            np.testing.assert_array_equal(value.view(np.uint32), two[name].view(np.uint32))


@pytest.mark.parametrize("fmt", ["Q4_0", "Q6_K", "F16"])
@pytest.mark.parametrize("op", [matvec.OP, matmul.OP], ids=lambda op: op.name)
def test_a_token_alone_gets_the_same_product(op, fmt, backend):
    tokens, rows, cols = 13, 37, 512
    x, w = activations(tokens, cols, seed=1), backend.weight(random_weight(fmt, rows, cols, 2))

    def product(part: np.ndarray) -> np.ndarray:
        out = backend.empty((len(part), rows))
        backend.run(op, backend.array(part), w, out, tokens=len(part), rows=rows, cols=cols, row0=0, stride=rows)
        return backend.read(out, (len(part), rows))

    together = product(x)
    for t in range(tokens):
        np.testing.assert_array_equal(product(x[t : t + 1])[0].view(np.uint32), together[t].view(np.uint32))


@pytest.mark.parametrize("dtype", ["f32", "f16", "q8_0"])
def test_a_token_alone_gets_the_same_attention(dtype, backend):
    positions = [190, 0, 63, 64, 127, 128, 5]
    case = attention.make_case(dtype, 8, 2, 64, positions, window=100)
    together = run_case(backend, attention.OP, case)["out"]
    size = 8 * 64
    for t in range(len(positions)):
        part = {**case.operands, "q": case.operands["q"][t : t + 1], "index": case.operands["index"][t : t + 1]}
        alone = run_case(backend, attention.OP, type(case)("alone", part, {**case.params, "tokens": 1}))["out"]
        want = together[t * size : (t + 1) * size]
        np.testing.assert_array_equal(alone[:size].view(np.uint32), want.view(np.uint32))


def test_output_rows_beside_the_weight_are_not_touched(backend):
    """A matvec with row0 and stride fills its columns of a fused output only."""
    x, w = activations(2, 64, seed=1), random_weight("Q8_0", 5, 64, 2)
    for op in (matvec.OP, matmul.OP):
        out = backend.array(np.full((2, 12), 9, np.float32))
        backend.run(op, backend.array(x), backend.weight(w), out, tokens=2, rows=5, cols=64, row0=4, stride=12)
        got = backend.read(out, (2, 12))
        assert (got[:, :4] == 9).all() and (got[:, 9:] == 9).all()
        np.testing.assert_allclose(got[:, 4:9], x @ w.values().T, rtol=1e-4, atol=1e-4)


# -- refusals


def index_case(op, **column):
    """The op's first case with one index row made bad."""
    case = next(iter(op.cases()))
    index = case.operands["index"].copy()
    for name, value in column.items():
        index[-1, ("id", "sequence", "position", "output").index(name)] = value
    return type(case)("bad", {**case.operands, "index": index}, case.params)


@pytest.mark.parametrize(
    "op, column",
    [
        (embedding.OP, {"id": 7}),
        (embedding.OP, {"id": 2**32 - 1}),
        (rope.OP, {"position": 40}),
        (gather_rows.OP, {"output": 7}),
        (attention.OP, {"sequence": 2}),
        (attention.OP, {"position": 2**31}),
        (rope_kv_write.OP, {"sequence": 2}),
        (rope_kv_write.OP, {"position": 3 * 64}),
    ],
    ids=lambda value: value.name if isinstance(value, Op) else str(value),
)
def test_an_index_row_that_points_outside_is_refused(op, column, backend):
    case = index_case(op, **column)
    if op is gather_rows.OP:  # only the first `rows` rows name an output
        case.operands["index"][:] = case.operands["index"][-1]
    with pytest.raises(ParameterError, match=f"{op.name}: index row .*{next(iter(column.values()))}"):
        run_case(backend, op, case)
    run_case(backend, op, next(iter(op.cases())))


@pytest.mark.parametrize("op", [attention.OP, rope_kv_write.OP], ids=lambda op: op.name)
def test_a_block_table_that_names_no_page_is_refused(op, backend):
    case = next(iter(op.cases()))
    kv = case.operands["kv"]
    kv.table[:] = len(kv.k)
    with pytest.raises(ParameterError, match="index row 0"):
        run_case(backend, op, case)


def test_a_split_vocabulary_counts_from_its_first_row(backend):
    w = random_weight("Q8_0", 4, 64, 1)
    out = backend.empty((1, 64))
    for token, ok in ((9, False), (10, True), (13, True), (14, False)):
        call = (embedding.OP, backend.array(index_array([token])), backend.weight(w), out)
        if ok:
            backend.run(*call, tokens=1, rows=4, cols=64, row0=10)
            np.testing.assert_array_equal(backend.read(out, (64,)), w.values()[token - 10])
        else:
            with pytest.raises(ParameterError):
                backend.run(*call, tokens=1, rows=4, cols=64, row0=10)


def test_wrong_calls_are_type_errors(backend):
    add, x, u = OPS["add"], backend.empty((8,)), backend.empty((8,), np.uint32)
    with pytest.raises(TypeError, match="contradict"):
        backend.run(add, x, x, n=8, period=3)
    with pytest.raises(TypeError, match="shape"):
        backend.run(add, x, x, n=9, period=9)
    with pytest.raises(TypeError, match="must be f32"):
        backend.run(add, x, u, n=8, period=8)
    with pytest.raises(TypeError, match="operands"):
        backend.run(add, x, n=8, period=8)
    w = backend.weight(random_weight("F32", 2, 4, 0))
    with pytest.raises(TypeError, match="cols=8"):
        backend.run(matvec.OP, x, w, x, tokens=1, rows=2, cols=8, row0=0, stride=2)
    with pytest.raises(TypeError, match="contradict"):
        backend.run(matvec.OP, x, w, x, tokens=1, rows=2, cols=4, row0=1, stride=2)


def test_a_weight_of_the_wrong_size_is_refused(backend):
    with pytest.raises(ParameterError, match="67 bytes, Q8_0 of its shape takes 68"):
        backend.weight(HostWeight(np.zeros(67, np.uint8), "Q8_0", 2, 32), "blk.0")


def test_too_little_memory_is_a_typed_error(backend):
    with pytest.raises(OutOfMemoryError, match="KV cache"):
        backend.kv(2**40, 8, 128, backend.empty((1, 1), np.uint32), "f16")


def test_a_weight_that_does_not_fit_is_a_typed_error(backend, monkeypatch):
    def nothing_left(*_args, **_options):
        raise MemoryError

    w = random_weight("Q4_0", 32, 64, 1)
    monkeypatch.setattr(cpu_operands.np, "zeros", nothing_left)
    with pytest.raises(OutOfMemoryError, match="the weight layer takes"):
        backend.weight(w, "layer")


def test_int8_activations_come_in_whole_blocks(backend):
    with pytest.raises(TypeError, match="33 columns"):
        backend.act8(2, 33)


@pytest.mark.parametrize("threads", [0, -1, "x", 10**6, 1.5, True])
def test_threads_that_are_not_possible(threads):
    with pytest.raises(ParameterError, match="threads="):
        cpu.CPUBackend(threads=threads)


def test_a_failing_self_test_is_a_device_error(monkeypatch, caplog):
    from cpu_fallback import selftest

    cpu.load_kernels.cache_clear()
    monkeypatch.setattr(selftest, "failure", lambda: "element (0, 0) of a test product is 3")
    with pytest.raises(DeviceError, match=r"element \(0, 0\) of a test product is 3.*reference"):
        cpu.CPUBackend()
    problems = ["damaged", None]
    monkeypatch.setattr(selftest, "failure", lambda: problems.pop(0))
    cpu.CPUBackend()  # the second compilation worked
    assert "compiling the self-test again: damaged" in caplog.text
    monkeypatch.undo()
    cpu.load_kernels.cache_clear()
    assert cpu.load_kernels().threads.layer() in cpu.CPUBackend().describe()


def test_a_wrong_product_fails_the_self_test():
    from cpu_fallback import selftest

    assert selftest.failure() is None
    assert "element (0, 0)" in selftest.failure(lambda *_arrays: None)
    assert "ZeroDivisionError" in selftest.failure(lambda *_arrays: 1 / 0)

    def wrong_sum(codes, halves, x, out, summed):
        selftest.run_program(codes, halves, x, out, summed)
        summed[0] += 1

    assert "the sum" in selftest.failure(wrong_sum)


# -- starting up, in child processes


def start(code: str, **environment: str) -> subprocess.Popen:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "OMP_"))}
    paths = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env={**inherited, **paths, **environment},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen) -> tuple[str, str]:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out, err


def child(code: str, **environment: str) -> tuple[str, str]:
    return finish(start(code, **environment))


CHEAP = """
import numpy as np
from wgpu_infer.backends.cpu import CPUBackend, find_twin
from wgpu_infer.contracts.table import OPS
from op_runner import check_case
backend = CPUBackend()
for op in (OPS["argmax"], OPS["rms_norm"]):
    for case in op.cases():
        check_case(backend, op, case)
from cpu_fallback import entry
names = ("argmax", "rms_norm")
print(sum(each.was_cached for (twin, _), each in entry.ENTRIES.items() if twin.py_func.__name__ in names))
"""


def test_the_cache_serves_the_next_process_and_survives_damage(tmp_path):
    place = {"NUMBA_CACHE_DIR": str(tmp_path)}
    assert child(CHEAP, **place)[0].strip() == "0"
    assert child(CHEAP, **place)[0].strip() == "2"
    names = ("argmax", "rms_norm", "run_alone")
    files = [next(file for file in tmp_path.rglob("*.kernel") if name in file.name) for name in names]
    folder = files[0].parent
    assert os.name == "nt" or folder.stat().st_mode & 0o777 == 0o700
    files[0].write_bytes(files[1].read_bytes())
    files[1].write_bytes(files[1].read_bytes()[:1000])
    files[2].write_bytes(b"")
    out, err = child(CHEAP, **place)
    assert out.strip() == "0" and err.count("cached form is unusable") == 3
    assert child(CHEAP, **place)[0].strip() == "2"


def test_without_a_usable_folder_kernels_are_compiled_anew(tmp_path):
    (tmp_path / "file").write_text("")
    out, err = child(CHEAP, NUMBA_CACHE_DIR=str(tmp_path / "file"))
    assert out.strip() == "0" and err.count("kernel cache cannot be used") == 1


def test_two_cold_processes_at_once(tmp_path):
    both = [start(CHEAP, NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(2)]
    for process in both:
        finish(process)
    assert child(CHEAP, NUMBA_CACHE_DIR=str(tmp_path))[0].strip() == "2"
    assert not list(tmp_path.rglob(".new-*"))


TWO_CALLERS = """
import threading
import numpy as np
from wgpu_infer.backends import cpu, cpu_operands
from wgpu_infer.contracts.table import OPS
from op_runner import run_case
cpu.SERIAL_BYTES = 0
backend = cpu.CPUBackend()
case = next(iter(OPS["rms_norm"].cases()))
want = run_case(backend, OPS["rms_norm"], case)["out"]
results = []
def work():
    for _ in range(300):
        results.append(np.array_equal(run_case(backend, OPS["rms_norm"], case)["out"], want))
callers = [threading.Thread(target=work) for _ in range(2)]
for each in callers: each.start()
for each in callers: each.join()
print(backend.describe(), len(results), all(results))
"""


@pytest.mark.parametrize("layer", ["workqueue", "omp"])
def test_two_python_threads_may_call_at_once(layer):
    """On workqueue, two kernels at once abort the process: there they take turns."""
    if layer == "omp" and not sys.platform.startswith("linux"):
        pytest.skip("numba's wheels bring omp on Linux only")
    out, _ = child(TWO_CALLERS, NUMBA_THREADING_LAYER=layer)
    assert f"({layer}) 600 True" in out


SOME_CASES = """
from wgpu_infer.backends.cpu import CPUBackend
from wgpu_infer.contracts.table import OPS
from op_runner import check_case
backend = CPUBackend()
for op in filter(backend.can_run, OPS.values()):
    for case in op.cases():
        weight = case.operands.get("w")
        if weight is None or op.name == "embedding" or weight.format in ("F16", "Q4_0"):
            check_case(backend, op, case)
            print(op.name, case.id)
"""


def test_no_kernel_leaves_its_arrays():
    """Every op's cases with numba's bounds checks (for products two formats; embedding reads all of them)."""
    out, _ = child(SOME_CASES, NUMBA_BOUNDSCHECK="1")
    assert len(out.splitlines()) > 80
    assert {line.split()[0] for line in out.splitlines()} == set(TWINS)


FORKED = """
import multiprocessing
from wgpu_infer import LLM
def child():
    try:
        LLM(device="cpu")
    except Exception as error:
        print(type(error).__name__, error, flush=True)
if __name__ == "__main__":
    LLM(device="cpu").close()
    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(60)
    print(process.exitcode)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="GNU OpenMP, fork")
def test_a_forked_process_is_told_so():
    """GNU OpenMP would end it without a word."""
    out, _ = child(FORKED, NUMBA_THREADING_LAYER="omp")
    assert out.startswith("DeviceError") and "spawn" in out and out.split()[-1] == "0"


def test_without_compilation_there_is_a_clear_error():
    code = "from wgpu_infer import LLM\ntry: LLM(device='cpu')\nexcept Exception as e: print(type(e).__name__, e)"
    out, _ = child(code, NUMBA_DISABLE_JIT="1")
    assert out.startswith("DeviceError") and "NUMBA_DISABLE_JIT" in out and "reference" in out
