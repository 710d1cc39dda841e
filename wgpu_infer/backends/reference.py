"""The reference backend: every op's numpy reference in float64, results kept as float32. Slow; it judges the others."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np

from wgpu_infer.backends.base import KV, Act8, Array, Backend, Handle, Weight, check_operands
from wgpu_infer.backends.memory import Ledger, Memory
from wgpu_infer.contracts.contract import Op, Operand, as_outputs
from wgpu_infer.contracts.host import HostAct8, HostKV, HostRows


class ReferenceBackend(Backend):
    """Payloads: a flat numpy array, a `HostWeight`, a `HostKV`, a `HostAct8`.

    int8_formats: weight formats that it multiplies by int8 activations, to judge backends that do so; none by itself.
    """

    name = "reference"

    def __init__(self, int8_formats: Collection[str] = ()):
        self._int8_formats = frozenset(int8_formats)
        self._ledger = Ledger()

    def empty(self, shape: tuple[int, ...], dtype: Any = np.float32, label: str = "") -> Array:
        payload = np.zeros(math.prod(shape), dtype)
        self._ledger.hold("arrays", payload.nbytes, payload)
        return Array(shape, np.dtype(dtype), payload, label)

    def weight(self, host: HostRows, label: str = "", rows_only: bool = False) -> Weight:
        self._ledger.hold("weights", host.nbytes, host)
        return Weight(host.rows, host.cols, host.format, host, label)

    def kv(self, pages: int, kv_heads: int, head_dim: int, table: Array, dtype: str) -> KV:
        rows = table.payload.reshape(table.shape)
        payload = HostKV.zeros(pages, kv_heads, head_dim, rows, dtype)
        self._ledger.hold("kv", payload.k.nbytes + payload.v.nbytes, payload)
        return KV(pages, kv_heads, head_dim, dtype, table, payload)

    def memory(self) -> Memory:
        return self._ledger.memory()

    def write(self, array: Array, values: np.ndarray) -> None:
        array.payload[: values.size] = values.reshape(-1)

    def read(self, array: Array, shape: tuple[int, ...]) -> np.ndarray:
        return array.payload[: math.prod(shape)].reshape(shape).copy()

    def write_kv(self, kv: KV, host: HostKV) -> None:
        kv.payload.k[:], kv.payload.v[:] = host.k, host.v

    def read_kv(self, kv: KV) -> HostKV:
        host: HostKV = kv.payload
        return HostKV(host.k.copy(), host.v.copy(), host.table.copy(), host.dtype)

    def can_act8(self, fmt: str) -> bool:
        return fmt in self._int8_formats

    def act8(self, rows: int, cols: int, label: str = "") -> Act8:
        payload = HostAct8.zeros(rows, cols)
        self._ledger.hold("arrays", payload.codes.nbytes + payload.scales.nbytes, payload)
        return Act8(rows, cols, payload, label)

    def write_act8(self, array: Act8, values: HostAct8) -> None:
        head(array, len(values.codes)).assign(values)

    def read_act8(self, array: Act8, rows: int) -> HostAct8:
        return head(array, rows).copy()

    def missing(self, op: Op, fmt: str | None = None) -> str | None:
        return None

    def run(self, op: Op, *operands: Handle, **params: int | float) -> None:
        check_operands(op, operands, params)
        by_name = {spec.name: value for spec, value in zip(op.operands, operands, strict=True)}
        inputs = [view(spec, by_name[spec.name], params) for spec in op.reads]
        results = as_outputs(op.reference(*inputs, **params))
        for spec, result in zip(op.writes, results, strict=True):
            target = view(spec, by_name[spec.name], params)
            if isinstance(result, HostAct8):
                target.assign(result)
            else:
                part = target[..., spec.columns(params)]
                part[...] = result.reshape(part.shape)


def head(array: Act8, rows: int) -> HostAct8:
    """The leading rows, in place."""
    host: HostAct8 = array.payload
    return HostAct8(host.codes[:rows], host.scales[:rows])


def view(spec: Operand, handle: Handle, params: dict[str, Any]) -> Any:
    """The operand as its reference wants it: an exactly shaped view, a HostWeight, a HostKV or a HostAct8."""
    if spec.kind in ("weight", "kv"):
        return handle.payload
    shape = spec.shape(params)
    if isinstance(handle, Act8):
        return head(handle, shape[0])
    return handle.payload[: math.prod(shape)].reshape(shape)
