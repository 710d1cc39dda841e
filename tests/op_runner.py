"""Runs one case of an op on a backend and judges the result against the op's reference, per element."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from wgpu_infer.backends.base import Act8, Array, Backend, Handle
from wgpu_infer.backends.compare import KEYS, VALUES, compare, compare_act8
from wgpu_infer.backends.reference import ReferenceBackend
from wgpu_infer.contracts.contract import Case, Op, Operand, as_outputs
from wgpu_infer.contracts.host import HostAct8, HostKV, HostWeight

GUARD = 192  # elements behind each written operand that nobody may touch
SENTINEL = {"f32": np.float32(-12345.678), "u32": np.uint32(0xDEADBEEF)}
DTYPES = {"f32": np.float32, "u32": np.uint32}


def guarded(backend: Backend, spec: Operand, case: Case) -> Array:
    shape = spec.shape(case.params)
    size = math.prod(shape)
    flat = np.full(size + GUARD, SENTINEL[spec.dtype], DTYPES[spec.dtype])
    if spec.access == "rw":
        flat[:size] = case.operands[spec.name].reshape(-1)
    return backend.array(flat, spec.name)


GUARD_ROWS = 2  # behind the rows of a written act8 operand
GUARD_CODE, GUARD_SCALE = 77, np.float32(-12345.678)


def guarded_act8(backend: Backend, spec: Operand, case: Case) -> Act8:
    rows, cols = spec.shape(case.params)
    blank = HostAct8.zeros(rows + GUARD_ROWS, cols)
    blank.codes[:], blank.scales[:] = GUARD_CODE, GUARD_SCALE
    handle = backend.act8(*blank.shape, spec.name)
    backend.write_act8(handle, blank)
    return handle


def upload(backend: Backend, spec: Operand, case: Case) -> Handle:
    if spec.kind == "dense" and spec.access != "r":
        return guarded(backend, spec, case)
    if spec.kind == "act8" and spec.access != "r":
        return guarded_act8(backend, spec, case)
    value: Any = case.operands[spec.name]
    if isinstance(value, HostAct8):
        handle = backend.act8(*value.shape, spec.name)
        backend.write_act8(handle, value)
        return handle
    if isinstance(value, HostWeight):
        return backend.weight(value, spec.name)
    if isinstance(value, HostKV):
        pages, heads, _, head_dim = value.k.shape
        kv = backend.kv(pages, heads, head_dim, backend.array(value.table), value.dtype)
        backend.write_kv(kv, value)
        return kv
    return backend.array(np.ascontiguousarray(value), spec.name)


def run_case(backend: Backend, op: Op, case: Case) -> dict[str, Any]:
    """The written operands by name (with their guards), KV pages included."""
    handles = {spec.name: upload(backend, spec, case) for spec in op.operands}
    backend.run(op, *handles.values(), **case.params)
    out: dict[str, Any] = {}
    for spec in op.operands:
        if spec.kind == "kv":
            out[spec.name] = backend.read_kv(handles[spec.name])
        elif spec.kind == "act8" and spec.access != "r":
            out[spec.name] = backend.read_act8(handles[spec.name], handles[spec.name].rows)
        elif spec.access != "r":
            out[spec.name] = backend.read(handles[spec.name], handles[spec.name].shape)
    return out


def check_case(backend: Backend, op: Op, case: Case) -> None:
    """Every written element within the op's bound of the reference; NaN and inf agree; guards untouched."""
    got = run_case(backend, op, case)
    inputs = [case.operands[spec.name] for spec in op.reads if spec.kind != "kv"]
    if any(spec.kind == "kv" for spec in op.operands):
        expected_kv = run_case(ReferenceBackend(), op, case)["kv"]
        for name, mine, want in ((KEYS, got["kv"].k, expected_kv.k), (VALUES, got["kv"].v, expected_kv.v)):
            assert not (wrong := compare(op, name, case.operands, mine, want, case.params)), wrong
        inputs = [case.operands[spec.name] for spec in op.reads] if op.writes else []
    expected = as_outputs(op.reference(*inputs, **case.params)) if op.writes else ()
    for spec, want in zip(op.writes, expected, strict=True):
        shape = spec.shape(case.params)
        if isinstance(want, HostAct8):
            check_act8(op, spec.name, got[spec.name], want)
            continue
        size, columns = math.prod(shape), spec.columns(case.params)
        flat = got[spec.name]
        assert (flat[size:] == SENTINEL[spec.dtype]).all(), f"{op.name} wrote behind its output {spec.name}"
        mine = flat[:size].reshape(shape)
        if spec.access == "w":
            others = np.delete(mine, columns, axis=-1) if columns != slice(None) else np.empty(0, flat.dtype)
            assert (others == SENTINEL[spec.dtype]).all(), f"{op.name} wrote beside its columns of {spec.name}"
        want = np.asarray(want).reshape(mine[..., columns].shape)
        assert not (wrong := compare(op, spec.name, case.operands, mine[..., columns], want, case.params)), wrong


def check_act8(op: Op, name: str, got: HostAct8, want: HostAct8) -> None:
    rows = len(want.codes)
    assert (got.codes[rows:] == GUARD_CODE).all() and (got.scales[rows:] == GUARD_SCALE).all(), (
        f"{op.name} wrote behind"
    )
    assert not (wrong := compare_act8(op, name, HostAct8(got.codes[:rows], got.scales[:rows]), want)), wrong
