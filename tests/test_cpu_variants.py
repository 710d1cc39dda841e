"""Every variant of the CPU kernels that this machine can run, forced in child processes: judged, and bit-equal."""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from conftest import ROOT, child_environ
from op_runner import check_case, run_case

from cpu_fallback import choose, variant
from wgpu_infer.backends.cpu import CPUBackend
from wgpu_infer.contracts.host import HostAct8, HostKV
from wgpu_infer.contracts.table import OPS

EXACT = ("avx512vnni", "avxvnni", "avx2")  # give the same bits
EMULATED = ROOT / "tests" / "emulated_variant.py"
NO_CACHE = {"NUMBA_CACHE_DIR": os.devnull}  # what it compiles is no one else's

CHILD = """
from test_cpu_variants import digests
from wgpu_infer.backends.cpu import CPUBackend
backend = CPUBackend(threads=1)
print(backend.describe())
for case, digest in digests(backend):
    print(case, digest)
"""
# Of the products that make weights float32 and of look-ups some formats are enough: no instruction is chosen there.
FEW_FORMATS = {"matvec": ("F32", "F16", "BF16", "Q4_K"), "matmul": ("F32", "F16", "BF16", "Q4_K")}
FEW_FORMATS["embedding"] = ("F16", "Q4_0", "Q6_K")
EMULATED_FORMATS = dict.fromkeys(("matvec_act8", "matmul_act8"), ("Q4_0", "Q8_0", "IQ4_NL", "Q2_K", "Q5_K", "Q6_K"))


def digests(backend, formats=FEW_FORMATS, names=tuple(OPS)) -> Iterator[tuple[str, str]]:
    """(op and case, digest of what it wrote) of some ops, judged by the reference first. formats: of some ops' weights
    those that are tried."""
    for op in filter(backend.can_run, (OPS[name] for name in names)):
        for case in op.cases():
            if op.name in formats and case.operands["w"].format not in formats[op.name]:
                continue
            check_case(backend, op, case)
            yield f"{op.name} {case.id}", digest(run_case(backend, op, case))


def digest(values: dict) -> str:
    out = hashlib.sha256()
    for value in values.values():
        parts = vars(value).values() if isinstance(value, HostAct8 | HostKV) else [value]
        for part in parts:
            out.update(np.ascontiguousarray(part).tobytes() if isinstance(part, np.ndarray) else b"")
    return out.hexdigest()[:16]


@functools.cache
def children() -> dict[str, subprocess.Popen]:
    """A process for each variant but this process's own, all at once: most of their time goes into compiling."""
    here = {name: start_child(["-c", CHILD], WGPU_INFER_CPU=name) for name in set(possible()) - {variant.ACTIVE}}
    return here | {name: start_child([str(EMULATED), name], WGPU_INFER_CPU="avx2", **NO_CACHE) for name in emulated()}


def possible() -> list[str]:
    return variant.possible()


def emulated() -> list[str]:
    """Those that this CPU imitates."""
    return ["avx512vnni"] if "avx2" in possible() and "avx512vnni" not in possible() else []


def start_child(arguments: list[str], **environ: str) -> subprocess.Popen:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    command, pipe = [sys.executable, *arguments], subprocess.PIPE
    return subprocess.Popen(
        command, cwd=ROOT, env=child_environ(PYTHONPATH=paths, **environ), stdout=pipe, stderr=pipe, text=True
    )


@functools.cache
def results(name: str) -> dict[str, str]:
    """Digests of what the cases wrote, by op and case, each judged."""
    if name == variant.ACTIVE:
        return dict(digests(CPUBackend(threads=1)))
    out, problems = children()[name].communicate()
    assert children()[name].returncode == 0, problems
    first, *lines = out.splitlines()
    assert f"({name})" in first
    return {line.rsplit(" ", 1)[0]: line.rsplit(" ", 1)[1] for line in lines}


@pytest.mark.parametrize("name", variant.VARIANTS)
def test_every_case_passes(name):
    if name not in variant.possible():
        pytest.skip(f"this CPU cannot run {name}")
    assert len(results(name)) > 120


@pytest.mark.parametrize("name", EXACT[:-1])
def test_variants_give_the_same_bits(name):
    """Where the CPU lacks the widest it is imitated (emulated_variant.py), in the ops in which it differs most."""
    if EXACT[-1] not in possible() or name not in [*possible(), *emulated()]:
        pytest.skip(f"this CPU cannot run both {EXACT[-1]} and {name}")
    narrow, wide = results(EXACT[-1]), results(name)
    assert len(wide) > 20 and set(wide) <= set(narrow)
    assert {case for case in wide if wide[case] != narrow[case]} == set()


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
    assert choose.choose({"a": 10.0, "b": 10.9}) == "a"
    assert choose.choose({"a": 10.0, "b": 10.9, "c": 12.0}) == "c"
    assert choose.choose({"a": 10.0, "b": 12.0, "c": 13.0}) == "b"


@pytest.mark.parametrize("executable", [None, "", "/bin/false", "no such program"])
def test_what_cannot_be_measured_is_not_kept(executable, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", executable)
    assert choose.fastest(["avx2", "generic"], "this cpu", tmp_path) == "avx2" and not list(tmp_path.iterdir())


@pytest.mark.parametrize("change", [{"NUMBA_CPU_NAME": "generic"}, {"NUMBA_CPU_FEATURES": ""}])
def test_numba_s_own_choice_of_a_target_changes_nothing(change):
    """Instructions that the target lacks would end the process."""
    assert start(None, **change).returncode == 0


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


def start(name: str | None, **changes: str) -> subprocess.CompletedProcess:
    environ = child_environ(**({"WGPU_INFER_CPU": name} if name else {}), **changes)
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
for op in filter(backend.can_run, OPS.values()):
    for case in op.cases():
        weight = case.operands.get("w")
        if weight is None or weight.format in ("Q6_K", "IQ4_NL", "F16"):
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
