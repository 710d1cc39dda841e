"""Ops on a backend as functions without arguments, ready to be timed: a case's operands uploaded, the op recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from wgpu_infer.backends.base import Array, Backend, Handle
from wgpu_infer.contracts.contract import Case, Op
from wgpu_infer.contracts.host import HostAct8, HostKV, HostWeight


@dataclass(frozen=True)
class OpCall:
    """Runs the op when called; `result` is its last operand as it then is."""

    run: Callable[[], None]
    backend: Backend
    out: Array

    def __call__(self) -> None:
        self.run()

    def result(self) -> np.ndarray:
        return self.backend.read(self.out, self.out.shape)


def op_call(backend: Backend, op: Op, case: Case) -> OpCall:
    """For ops that write one dense operand, their last."""
    *read, written = op.operands
    operands = [upload(backend, case.operands[spec.name]) for spec in read]
    out = backend.empty(written.shape(case.params))
    program = backend.program(lambda: backend.run(op, *operands, out, **case.params))
    return OpCall(program, backend, out)


def upload(backend: Backend, value: Any) -> Handle:
    if isinstance(value, HostWeight):
        return backend.weight(value)
    if isinstance(value, HostAct8):
        act8 = backend.act8(*value.shape)
        backend.write_act8(act8, value)
        return act8
    if isinstance(value, HostKV):
        pages, heads, _, head_dim = value.k.shape
        kv = backend.kv(pages, heads, head_dim, backend.array(value.table), value.dtype)
        backend.write_kv(kv, value)
        return kv
    return backend.array(value)
