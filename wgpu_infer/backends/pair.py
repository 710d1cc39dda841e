"""PairBackend: two backends as one. Every op runs on both from the same inputs, and the first disagreement is kept.

The primary's values are what the pass goes on with: before each op its inputs are copied to the witness, so an error is
charged to the op that made it and never to those behind it. Meant for a few steps of checking, not for speed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from wgpu_infer.backends.base import KV, Act8, Array, Backend, Handle, Weight, check_operands
from wgpu_infer.backends.compare import KEYS, VALUES, Disagreement, compare, compare_act8
from wgpu_infer.backends.memory import Memory
from wgpu_infer.contracts.contract import Op, Operand
from wgpu_infer.contracts.host import HostAct8, HostKV, HostRows


class PairBackend(Backend):
    """Payloads are (primary handle, witness handle, host weight or None).

    loaded: handles the primary already holds, by label; they are used instead of being uploaded again.
    """

    name = "pair"

    def __init__(self, primary: Backend, witness: Backend, loaded: Mapping[str, Handle] | None = None):
        self.primary, self.witness = primary, witness
        self.loaded = loaded or {}
        self.slack = 1.0 if witness.name == "reference" else 2.0
        self.checked = 0
        self.first: Disagreement | None = None
        self.first_operands = ""

    def empty(self, shape: tuple[int, ...], dtype: Any = np.float32, label: str = "") -> Array:
        known = self.loaded.get(label) if label else None
        a = known if isinstance(known, Array) else self.primary.empty(shape, dtype, label)
        return replace(a, payload=(a, self.witness.empty(shape, dtype, label), None))

    def weight(self, host: HostRows, label: str = "", rows_only: bool = False) -> Weight:
        known = self.loaded.get(label)
        a = known if isinstance(known, Weight) else self.primary.weight(host, label, rows_only)
        return replace(a, payload=(a, self.witness.weight(host, label, rows_only), host))

    def kv(self, pages: int, kv_heads: int, head_dim: int, table: Array, dtype: str) -> KV:
        a = self.primary.kv(pages, kv_heads, head_dim, table.payload[0], dtype)
        b = self.witness.kv(pages, kv_heads, head_dim, table.payload[1], dtype)
        return replace(a, payload=(a, b, None), table=table)

    def write(self, array: Array, values: np.ndarray) -> None:
        self.primary.write(array.payload[0], values)
        self.witness.write(array.payload[1], values)

    def can_act8(self, fmt: str) -> bool:
        return self.primary.can_act8(fmt)

    def act8(self, rows: int, cols: int, label: str = "") -> Act8:
        a, b = self.primary.act8(rows, cols, label), self.witness.act8(rows, cols, label)
        return replace(a, payload=(a, b, None))

    def write_act8(self, array: Act8, values: HostAct8) -> None:
        self.primary.write_act8(array.payload[0], values)
        self.witness.write_act8(array.payload[1], values)

    def read_act8(self, array: Act8, rows: int) -> HostAct8:
        return self.primary.read_act8(array.payload[0], rows)

    def read(self, array: Array, shape: tuple[int, ...]) -> np.ndarray:
        return self.primary.read(array.payload[0], shape)

    def write_kv(self, kv: KV, host: HostKV) -> None:
        self.primary.write_kv(kv.payload[0], host)
        self.witness.write_kv(kv.payload[1], host)

    def read_kv(self, kv: KV) -> HostKV:
        return self.primary.read_kv(kv.payload[0])

    def missing(self, op: Op, fmt: str | None = None) -> str | None:
        return self.primary.missing(op, fmt) or self.witness.missing(op, fmt)

    def memory(self) -> Memory:
        return self.primary.memory()

    def run(self, op: Op, *operands: Handle, **params: int | float) -> None:
        check_operands(op, operands, params)
        by_name = dict(zip((o.name for o in op.operands), operands, strict=True))
        inputs = {o.name: self._copy_input(o, by_name[o.name], params) for o in op.operands if o.access != "w"}
        self.primary.run(op, *(h.payload[0] for h in operands), **params)
        self.witness.run(op, *(h.payload[1] for h in operands), **params)
        self.checked += 1
        for spec in op.operands:
            if spec.access != "r" and self.first is None:
                self.first = self._judge(op, spec, by_name[spec.name], inputs, params)
                self.first_operands = ", ".join(
                    f"{o.name}={label_of(h)}" for o, h in zip(op.operands, operands, strict=True)
                )

    def _copy_input(self, spec: Operand, handle: Handle, params: Mapping[str, Any]) -> Any:
        """The operand's values on the primary, after the witness was given the same."""
        a, b, host = handle.payload
        if isinstance(handle, Weight):
            return host
        if isinstance(handle, KV):
            pages = self.primary.read_kv(a)
            self.witness.write_kv(b, pages)
            return pages
        if isinstance(handle, Act8):
            blocks = self.primary.read_act8(a, spec.shape(params)[0])
            self.witness.write_act8(b, blocks)
            return blocks
        values = self.primary.read(a, spec.shape(params))
        self.witness.write(b, values)
        return values

    def _judge(
        self, op: Op, spec: Operand, handle: Handle, inputs: Mapping[str, Any], params: Mapping[str, Any]
    ) -> Disagreement | None:
        a, b, _ = handle.payload
        if isinstance(handle, KV):
            mine, other = self.primary.read_kv(a), self.witness.read_kv(b)
            pages = ((KEYS, mine.k, other.k), (VALUES, mine.v, other.v))
            found = [compare(op, name, inputs, x, y, params, self.slack) for name, x, y in pages]
            return found[0] or found[1]
        shape = spec.shape(params)
        if isinstance(handle, Act8):
            return compare_act8(op, spec.name, self.primary.read_act8(a, shape[0]), self.witness.read_act8(b, shape[0]))
        got, want = (
            side.read(x, shape)[..., spec.columns(params)] for side, x in ((self.primary, a), (self.witness, b))
        )
        return compare(op, spec.name, inputs, got, want, params, self.slack)


def label_of(handle: Handle) -> str:
    return getattr(handle, "label", "") or type(handle).__name__.lower()
