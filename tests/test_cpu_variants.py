"""Every variant of the CPU kernels that this machine can run, forced in child processes: judged, and bit-equal."""

from __future__ import annotations

import functools
import os
import subprocess
import sys

import pytest
from conftest import ROOT, child_environ

from cpu_fallback import choose, variant

EXACT = ("avx512vnni", "avxvnni", "avx2")  # give the same bits

CHILD = """
import hashlib
import numpy as np
from op_runner import check_case, run_case
from wgpu_infer.backends.cpu import CPUBackend
from wgpu_infer.contracts.host import HostAct8, HostKV
from wgpu_infer.contracts.table import OPS
backend = CPUBackend(threads=1)
print(backend.describe())
def digest(values):
    out = hashlib.sha256()
    for value in values.values():
        parts = vars(value).values() if isinstance(value, (HostAct8, HostKV)) else [value]
        for part in parts:
            out.update(np.ascontiguousarray(part).tobytes() if isinstance(part, np.ndarray) else b"")
    return out.hexdigest()[:16]
for op in OPS.values():
    for case in op.cases():
        check_case(backend, op, case)
        print(op.name, case.id, digest(run_case(backend, op, case)))
"""


@functools.cache
def results(name: str) -> dict[str, str]:
    """Digests of what every case of every op wrote, by op and case; the child has judged each."""
    environ = child_environ(WGPU_INFER_CPU=name, PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / "tests")]))
    done = subprocess.run([sys.executable, "-c", CHILD], cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, *lines = done.stdout.splitlines()
    assert f"({name})" in first
    return {line.rsplit(" ", 1)[0]: line.rsplit(" ", 1)[1] for line in lines}


@pytest.mark.parametrize("name", variant.VARIANTS)
def test_every_case_passes(name):
    if name not in variant.possible():
        pytest.skip(f"this CPU cannot run {name}")
    assert len(results(name)) > 200


@pytest.mark.parametrize("name", EXACT[1:])
def test_variants_give_the_same_bits(name):
    if EXACT[0] not in variant.possible() or name not in variant.possible():
        pytest.skip(f"this CPU cannot run both {EXACT[0]} and {name}")
    first, second = results(EXACT[0]), results(name)
    assert {case for case in first if first[case] != second[case]} == set()


# -- choosing


def test_the_features_decide_what_is_possible():
    avx2 = frozenset({"avx2", "fma", "f16c"})
    wide = avx2 | {"avx512f", "avx512bw", "avx512vl", "avx512vnni"}

    def names(features):
        return [name for name, each in variant.VARIANTS.items() if each.is_possible(frozenset(features))]

    assert names(wide) == ["avx512vnni", "avxvnni", "avx2", "generic"]
    assert names(avx2 | {"avxvnni"}) == ["avxvnni", "avx2", "generic"]
    assert names(avx2) == ["avx2", "generic"]
    assert names({"neon", "dotprod"}) == names(()) == ["generic"]
    assert names(avx2 - {"f16c"}) == ["generic"]


def test_a_narrower_variant_must_be_clearly_faster():
    rates = {"a": 10.0, "b": 10.9, "c": 12.0}
    assert choose.choose(["a", "b"], rates.get) == "a"
    assert choose.choose(["a", "b", "c"], rates.get) == "c"
    assert choose.choose(["b", "a"], {"b": 0.0, "a": 1.0}.get) == "a", "one that could not be measured is not taken"


def test_the_choice_is_measured_once(tmp_path, monkeypatch):
    measured = []

    def measure(name):
        measured.append(name)
        return {"a": 1.0, "b": 2.0}[name]

    monkeypatch.setattr(choose, "measure_in_child", measure)
    assert choose.fastest(["a", "b"], "this cpu", tmp_path) == "b" and measured == ["a", "b"]
    assert choose.fastest(["a", "b"], "this cpu", tmp_path) == "b" and measured == ["a", "b"]
    assert choose.fastest(["a", "b"], "another", tmp_path) == "b" and len(measured) == 4
    assert choose.fastest(["a"], "this cpu", tmp_path) == "a" and len(measured) == 4
    for file in tmp_path.iterdir():
        file.write_text('{"variant": "c"}')
    assert choose.fastest(["a", "b"], "this cpu", tmp_path) == "b" and len(measured) == 6, "an unknown name"
    for file in tmp_path.iterdir():
        file.write_bytes(b"\xff\x00")
    assert choose.fastest(["a", "b"], "this cpu", tmp_path) == "b" and len(measured) == 8
    (tmp_path / "file").write_text("")
    assert choose.fastest(["a", "b"], "this cpu", tmp_path / "file" / "x") == "b", "no folder: not fatal"


def start(name: str) -> subprocess.CompletedProcess:
    environ = child_environ(WGPU_INFER_CPU=name)
    command = [sys.executable, "-m", "wgpu_infer.generate", "Once", "--device", "cpu", "--max-tokens", "1"]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=300)


def test_an_unknown_variant_is_an_error_that_names_the_known_ones():
    done = start("sse9")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "WGPU_INFER_CPU='sse9' is not known; allowed: avx512vnni, avxvnni, avx2, generic" in done.stderr


# -- another architecture

ARM64 = """
import llvmlite.binding as llvm
import numba
from cpu_fallback import entry, pack, variant
from wgpu_infer.backends.cpu import CPUBackend
from wgpu_infer.contracts.table import OPS
from op_runner import run_case
backend = CPUBackend(threads=1)
for op in OPS.values():
    for case in op.cases():
        weight = case.operands.get("w")
        if weight is None or weight.format in ("Q4_0", "Q6_K", "IQ4_NL", "F16"):
            run_case(backend, op, case)
llvm.initialize_all_targets()
llvm.initialize_all_asmprinters()
machine = llvm.Target.from_triple("aarch64-unknown-linux-gnu").create_target_machine(cpu="generic")
compiled = 0
for each in entry.ENTRIES.values():
    text = each.llvm()
    assert "llvm.x86" not in text
    lines = [line for line in text.splitlines() if not line.startswith(("target triple", "target datalayout"))]
    module = llvm.parse_assembly("\\n".join(lines))
    module.triple, module.data_layout = "aarch64-unknown-linux-gnu", str(machine.target_data)
    module.verify()
    assert len(machine.emit_object(module)) > 500
    compiled += 1
print(compiled)
"""


def test_the_generic_variant_compiles_for_arm64(tmp_path):
    """Unoptimised code, since numba's optimiser has the CPU of this machine in mind."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environ = child_environ(WGPU_INFER_CPU="generic", NUMBA_OPT="0", NUMBA_CACHE_DIR=str(tmp_path), PYTHONPATH=paths)
    done = subprocess.run([sys.executable, "-c", ARM64], cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout.split()[-1]) > 25
