"""The CPU backend: every op's numba twin (cpu_fallback) on flat numpy arrays.

Weights stay the raw GGUF blocks they were given, so a mapped file is read in place. A call turns handles into the
arguments of `lower_cpu(op)`: exactly shaped views, kept per handle, integers as int and floats as float, so that each
twin is compiled for one signature (attention and kv_write for one per KV type). Twins check index rows themselves; a
row that points outside its operand becomes a ParameterError. Any thread may call; on a threading layer that cannot
take two callers at once, calls wait for each other.
"""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from wgpu_infer.backends.base import KV, Array, Backend, Handle, Weight, check_operands
from wgpu_infer.backends.cpu_operands import STORAGE, Blocks, Buffer, Pages, lower, raw_blocks, refusal, zeros
from wgpu_infer.contracts.contract import PAGE_SLOTS, Op
from wgpu_infer.contracts.host import HostKV, HostWeight, check_kv
from wgpu_infer.errors import DeviceError, ParameterError, UnsupportedError
from wgpu_infer.formats import quants

Twin = Callable[..., int]

# An op that reads fewer items (some 200 µs of work) is left to one thread: to wake the others takes 50 µs, more where
# other programs keep the cores busy. Results are the same for any number of threads.
SERIAL_ITEMS = 1 << 20
MAX_CALLS = 256  # parameter sets kept per op; prompts of ever new lengths start over


@dataclass(frozen=True)
class Plan:
    """An op's twin, and per set of parameters the operands' shapes and the converted parameters."""

    op: Op
    twin: Twin
    calls: dict[tuple, tuple[list[tuple[int, ...]], list[int | float]]] = field(default_factory=dict)

    def call(self, params: dict[str, Any]) -> tuple[list[tuple[int, ...]], list[int | float]]:
        key = tuple(params.items())
        found = self.calls.get(key)
        if found is None:
            if len(self.calls) >= MAX_CALLS:
                self.calls.clear()
            values = [cast_for(self.op.params[name])(params[name]) for name in self.op.param_names()]
            found = self.calls[key] = [spec.shape(params) for spec in self.op.operands], values
        return found


class CPUBackend(Backend):
    """Payloads: `Buffer`, `Blocks`, `Pages`.

    Args:
        threads: how many threads kernels use; None takes one per physical core this process may run on.

    Raises:
        ParameterError: threads is not a number from 1 to as many as numba started.
        DeviceError: numba does not work on this machine; the reference backend does without it.
    """

    name = "cpu"

    def __init__(self, threads: int | None = None) -> None:
        self._kernels = load_kernels()
        self._gate = self._kernels.threads.gate()
        self._plans: dict[str, Plan] = {}
        self.threads: int = self._kernels.threads.physical_cores() if threads is None else self._checked(threads)

    def _checked(self, threads: Any) -> int:
        most = self._kernels.threads.most()
        if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= most:
            raise ParameterError(
                f"threads={threads!r} is not possible; allowed: 1 to {most} (NUMBA_NUM_THREADS sets the limit)"
            )
        return threads

    def empty(self, shape: tuple[int, ...], dtype: Any = np.float32, label: str = "") -> Array:
        return Array(shape, np.dtype(dtype), Buffer(zeros((math.prod(shape),), dtype, label)), label)

    def weight(self, host: HostWeight, label: str = "") -> Weight:
        if reason := self._missing_format(host.format):
            raise UnsupportedError(f"weight {label}: {reason}")
        blocks = raw_blocks(host.data)
        expected = host.rows * quants.row_bytes(host.format, host.cols)
        if blocks.size != expected:
            raise ParameterError(f"weight {label} has {blocks.size} bytes, {host.format} of its shape takes {expected}")
        kind = quants.get_format(host.format).ggml_type
        return Weight(host.rows, host.cols, host.format, Blocks(blocks, kind), label)

    def kv(self, pages: int, kv_heads: int, head_dim: int, table: Array, dtype: str) -> KV:
        check_kv(dtype, head_dim)
        item, row = self._kernels.kv.storage(dtype, head_dim)
        shape = (pages, kv_heads, PAGE_SLOTS, row)
        payload = Pages(zeros(shape, item, "the KV cache"), zeros(shape, item, "the KV cache"))
        return KV(pages, kv_heads, head_dim, dtype, table, payload)

    def write(self, array: Array, values: np.ndarray) -> None:
        array.payload.flat[: values.size] = values.reshape(-1)

    def read(self, array: Array, shape: tuple[int, ...]) -> np.ndarray:
        return array.payload.flat[: math.prod(shape)].reshape(shape).copy()

    def write_kv(self, kv: KV, host: HostKV) -> None:
        to_items, _ = STORAGE[kv.dtype]
        kv.payload.k[...], kv.payload.v[...] = to_items(host.k), to_items(host.v)

    def read_kv(self, kv: KV) -> HostKV:
        _, to_values = STORAGE[kv.dtype]
        table = self.read(kv.table, kv.table.shape)
        return HostKV(to_values(kv.payload.k), to_values(kv.payload.v), table, kv.dtype)

    def missing(self, op: Op, fmt: str | None = None) -> str | None:
        if find_twin(op.name) is None:
            return f"there is no cpu_fallback/{op.name}.py"
        return self._missing_format(fmt) if fmt in quants.FORMATS else None

    def _missing_format(self, fmt: str) -> str | None:
        if quants.get_format(fmt).ggml_type in self._kernels.formats.DEQUANTIZE_ROW:
            return None
        return f"cpu_fallback/formats.py does not read {fmt}"

    def run(self, op: Op, *operands: Handle, **params: int | float) -> None:
        check_operands(op, operands, params)
        plan = self._plan(op)
        shapes, values = plan.call(params)
        arguments, items = lower(op, operands, shapes, params)
        with self._gate:
            self._kernels.threads.use(self.threads if items >= SERIAL_ITEMS else 1)
            status = plan.twin(*arguments, *values)
        if status:
            raise refusal(op, status, operands)

    def _plan(self, op: Op) -> Plan:
        plan = self._plans.get(op.name)
        if plan is None or plan.op is not op:
            plan = self._plans[op.name] = self._new_plan(op)
        return plan

    def _new_plan(self, op: Op) -> Plan:
        twin = find_twin(op.name)
        if twin is None:
            raise UnsupportedError(f"{op.name} does not run on cpu: there is no cpu_fallback/{op.name}.py")
        return Plan(op, twin)

    def describe(self) -> str:
        kernels = self._kernels
        return f"cpu: {kernels.kernel_cache.cpu_name()}, {self.threads} threads ({kernels.threads.layer()})"


def to_float(value: Any) -> float:
    """A float parameter as the GPU would get it: rounded to float32."""
    return float(np.float32(value))


def cast_for(dtype: np.dtype) -> Callable[[Any], int | float]:
    return to_float if dtype.kind == "f" else int


@functools.cache
def find_twin(name: str) -> Twin | None:
    module = f"cpu_fallback.{name}"
    try:
        return getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        return None


@functools.cache
def load_kernels() -> SimpleNamespace:
    """The helper modules of cpu_fallback, once its self-test has passed. DeviceError where numba does not work."""
    try:
        from cpu_fallback import formats, kernel_cache, kv, selftest, threads

        problem = selftest.run()
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    if problem is not None:
        raise DeviceError(f"the CPU kernels do not work here ({problem}); --device reference runs without numba")
    return SimpleNamespace(formats=formats, kernel_cache=kernel_cache, kv=kv, threads=threads)
