"""HybridScheduler: a Backend made of backends, so that callers never ask where they run.

Single op calls on numpy arrays go to the side that the measured costs of this machine predict to be faster. A model is
placed whole, by timing its own first layer on either side. There is no decision per op inside a model: moving
activations back and forth costs more than any op gains. (Plans per phase and layer range are an issue of their own.)
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wgpu_infer.backends.base import KV, Act8, Array, Backend, Handle, Weight
from wgpu_infer.backends.memory import Memory
from wgpu_infer.backends.registry import open_backend, software_adapter
from wgpu_infer.backends.timing import Timer, Tuned
from wgpu_infer.calibration import Costs, load_or_measure
from wgpu_infer.checks import number
from wgpu_infer.contracts.contract import Op, Operand
from wgpu_infer.contracts.host import HostAct8, HostKV, HostRows, HostWeight
from wgpu_infer.contracts.table import OPS
from wgpu_infer.contracts.work import Keys, work
from wgpu_infer.errors import DeviceError, ParameterError, UnsupportedError

log = logging.getLogger(__name__)
MAX_SIZE = float(2**32)  # of a parameter in `explain`
SOFTWARE = "a software adapter runs on the CPU itself"


@dataclass(frozen=True)
class Choice:
    """Where an op call goes and why: predicted seconds per backend, and what keeps a backend out."""

    backend: str
    seconds: Mapping[str, float]
    excluded: Mapping[str, str]

    def __str__(self) -> str:
        times = ", ".join(f"{name} {s * 1e6:.0f} us" for name, s in self.seconds.items())
        out = "".join(f"; not {name}: {why}" for name, why in self.excluded.items())
        return f"{self.backend} (predicted: {times}{out})"


class HybridScheduler(Backend):
    """Routes op calls between a CPU and a GPU backend; as a Backend it is the one a model was placed on.

    Args:
        backends: the sides, by name; None opens cpu and webgpu, and goes on with what there is.
        threads: CPU threads.
        adapter: the WebGPU adapter's number, or part of its name; None is the best. One that is named must work.
        software: whether a software adapter is opened beside the CPU; for a model it never is.

    `unavailable` says of every side that is not used why. Raises ParameterError, DeviceError.
    """

    name = "hybrid"

    def __init__(
        self,
        backends: Mapping[str, Backend] | None = None,
        threads: int | None = None,
        adapter: str | None = None,
        software: bool = True,
    ):
        self.unavailable: dict[str, str] = {}
        if backends is not None and (not isinstance(backends, Mapping) or not backends):
            raise ParameterError(f"backends={backends!r:.60} must map at least one name to a Backend")
        self.backends = dict(backends) if backends is not None else self._open(threads, adapter, software)
        self.active = next(iter(self.backends.values()))
        self._costs: dict[str, Costs] = {}

    def _open(self, threads: int | None, adapter: str | None, software: bool) -> dict[str, Backend]:
        found: dict[str, Backend] = {}
        for name in ("cpu", "webgpu"):
            try:
                if name == "webgpu" and found and not software and (emulated := software_adapter(adapter)):
                    self._pass_over(name, f"{SOFTWARE}: {emulated}")
                    continue
                found[name] = open_backend(name, threads, adapter)
            except DeviceError as error:
                if name == "webgpu" and adapter is not None:  # not the CPU behind the back of who named it
                    for backend in found.values():
                        backend.close()
                    raise
                self._pass_over(name, str(error))
        return found or {"reference": open_backend("reference")}

    def _pass_over(self, name: str, why: str) -> None:
        log.info("%s is not used: %s", name, why)
        self.unavailable[name] = why

    # -- single op calls -------------------------------------------------------------------------------------------

    def costs(self, name: str) -> Costs:
        """Measured at first need, or read from disk."""
        if name not in self._costs:
            self._costs[name] = load_or_measure(self.backends[name])
        return self._costs[name]

    def choose(self, op: Op, operands: Mapping[str, Any], params: Mapping[str, int | float]) -> Choice:
        """The side predicted to be faster for operands that lie in numpy."""
        needed = work(op, params, weight_format(operands))
        flops, moved = needed.operations, needed.nbytes
        excluded = dict(self.unavailable)
        seconds = {}
        for name, backend in self.backends.items():
            if reason := backend.missing(op, weight_format(operands)):
                excluded[name] = reason
            else:
                seconds[name] = self.costs(name).seconds(flops, moved, 0.0 if name == "cpu" else moved)
        if not seconds:
            raise DeviceError(f"no device can run {op.name}: {excluded}")
        return Choice(min(seconds, key=lambda name: seconds[name]), seconds, excluded)

    def explain(self, op: str, shapes: Mapping[str, int | float]) -> str:
        """Where a call of an op with these parameters (e.g. matmul: tokens, rows, cols) would run, and why."""
        if op not in OPS:
            raise ParameterError(f"op {op!r} is not known; known: {', '.join(OPS)}")
        names = OPS[op].param_names()
        unknown = set(shapes) - set(names)
        if unknown:
            raise ParameterError(f"{op} has no parameter {sorted(unknown)}; it takes {names}")
        given = {name: number(name, value, 0, MAX_SIZE) for name, value in shapes.items()}
        params: dict[str, int | float] = dict.fromkeys(names, 1) | given
        return f"{op}: {self.choose(OPS[op], {}, params)}"

    def call(self, op: Op, operands: Mapping[str, Any], params: Mapping[str, int | float]) -> tuple[Any, ...]:
        """Runs one op on numpy operands (weights as `HostWeight`, int8 activations as `HostAct8`) where it is fastest;
        returns what it wrote."""
        backend = self.backends[self.choose(op, operands, params).backend]
        handles = {o.name: upload(backend, o, operands.get(o.name), params) for o in op.operands}
        backend.run(op, *handles.values(), **params)
        return tuple(download(backend, handles[o.name], o.shape(params)) for o in op.writes)

    # -- a model ---------------------------------------------------------------------------------------------------

    def place(self, layer: list[HostWeight], outside: list[HostWeight], layers: int) -> str:
        """Makes the side that runs this model faster the active one, closes the others, and returns its name.

        layer: the matrices of one layer, of which the model has `layers`; outside: those used once per token. The
        model's own products are timed on either side; a software adapter shares the CPU and is left out unasked.
        """
        for name in [n for n, b in self.backends.items() if b.is_software and len(self.backends) > 1]:
            self._drop(name, SOFTWARE)
        seconds: dict[str, float] = {}
        for name, backend in list(self.backends.items()) if len(self.backends) > 1 else []:
            try:
                seconds[name] = time_step(backend, layer, outside, layers)
            except (UnsupportedError, DeviceError) as error:
                self._drop(name, str(error))
        if not self.backends:
            raise DeviceError(f"no device can run this model: {self.unavailable}")
        best = min(self.backends, key=lambda name: seconds.get(name, 0.0))
        self.active = self.backends[best]
        for name in [n for n in self.backends if n != best]:
            self._drop(name, f"slower: {seconds[name] * 1e3:.2f} ms a token, {best} takes {seconds[best] * 1e3:.2f}")
        return best

    def _drop(self, name: str, why: str) -> None:
        self._pass_over(name, why)
        self.backends.pop(name).close()

    def empty(self, shape: tuple[int, ...], dtype: Any = np.float32, label: str = "") -> Array:
        return self.active.empty(shape, dtype, label)

    def weight(self, host: HostRows, label: str = "", rows_only: bool = False) -> Weight:
        return self.active.weight(host, label, rows_only)

    def kv(self, pages: int, kv_heads: int, head_dim: int, table: Array, dtype: str) -> KV:
        return self.active.kv(pages, kv_heads, head_dim, table, dtype)

    def write(self, array: Array, values: np.ndarray) -> None:
        self.active.write(array, values)

    def read(self, array: Array, shape: tuple[int, ...]) -> np.ndarray:
        return self.active.read(array, shape)

    def read_later(self, array: Array, shape: tuple[int, ...]) -> Callable[[], np.ndarray]:
        return self.active.read_later(array, shape)

    @property
    def can_run_ahead(self) -> bool:  # type: ignore[override]
        return self.active.can_run_ahead

    @property
    def is_software(self) -> bool:  # type: ignore[override]
        return self.active.is_software

    def run(self, op: Op, *operands: Handle, **params: int | float) -> None:
        self.active.run(op, *operands, **params)

    def expect_weights(self, nbytes: int) -> None:
        self.active.expect_weights(nbytes)

    def trim(self) -> None:
        self.active.trim()

    def memory(self) -> Memory:
        return self.active.memory()

    def can_act8(self, fmt: str) -> bool:
        return self.active.can_act8(fmt)

    def act8(self, rows: int, cols: int, label: str = "") -> Act8:
        return self.active.act8(rows, cols, label)

    def write_act8(self, array: Act8, values: HostAct8) -> None:
        self.active.write_act8(array, values)

    def read_act8(self, array: Act8, rows: int) -> HostAct8:
        return self.active.read_act8(array, rows)

    @property
    def compile_progress(self) -> Callable[[int, int], None]:  # type: ignore[override]
        return self.active.compile_progress

    @compile_progress.setter
    def compile_progress(self, report: Callable[[int, int], None]) -> None:
        self.active.compile_progress = report  # type: ignore[method-assign]

    @property
    def tune_progress(self) -> Callable[[int, int], None]:  # type: ignore[override]
        return self.active.tune_progress

    @tune_progress.setter
    def tune_progress(self, report: Callable[[int, int], None]) -> None:
        self.active.tune_progress = report  # type: ignore[method-assign]

    def program(self, build: Callable[[], None]) -> Callable[[], None]:
        return self.active.program(build)

    def write_kv(self, kv: KV, host: HostKV) -> None:
        self.active.write_kv(kv, host)

    def read_kv(self, kv: KV) -> HostKV:
        return self.active.read_kv(kv)

    def missing(self, op: Op, fmt: str | None = None) -> str | None:
        return self.active.missing(op, fmt)

    @property
    def most_prompt_tokens(self) -> int:  # type: ignore[override]
        return self.active.most_prompt_tokens

    @property
    def most_array_bytes(self) -> int:  # type: ignore[override]
        return self.active.most_array_bytes

    def chunk(self, operations: float, most: int) -> int:
        return self.active.chunk(operations, most)

    @property
    def tune_seconds(self) -> float:  # type: ignore[override]
        return self.active.tune_seconds

    def tune(self, programs: Sequence[Callable[[], None]], seconds: float, again: bool = False) -> list[Tuned]:
        return self.active.tune(programs, seconds, again)

    def timer(self, keys: Callable[[], Keys | None]) -> Timer:
        return self.active.timer(keys)

    def describe(self) -> str:
        return self.active.describe()

    def flush(self) -> None:
        self.active.flush()

    def close(self) -> None:
        for backend in self.backends.values():
            backend.close()


def upload(backend: Backend, spec: Operand, value: Any, params: Mapping[str, int | float]) -> Handle:
    """The operand on a backend; empty where it has no value yet."""
    if isinstance(value, HostWeight):
        return backend.weight(value)
    if isinstance(value, HostKV):
        return upload_pages(backend, value)
    if spec.kind == "act8":
        rows, cols = spec.shape(params)
        blocks = backend.act8(rows, cols)
        if value is not None:
            backend.write_act8(blocks, value)
        return blocks
    if value is None:
        return backend.empty(spec.shape(params), np.uint32 if spec.dtype == "u32" else np.float32)
    return backend.array(value)


def download(backend: Backend, handle: Handle, shape: tuple[int, ...]) -> Any:
    """What an op wrote, in numpy."""
    return backend.read_act8(handle, shape[0]) if isinstance(handle, Act8) else backend.read(handle, shape)  # type: ignore[arg-type]


def upload_pages(backend: Backend, host: HostKV) -> KV:
    pages, kv_heads, _, head_dim = host.k.shape
    kv = backend.kv(pages, kv_heads, head_dim, backend.array(host.table), host.dtype)
    backend.write_kv(kv, host)
    return kv


def weight_format(operands: Mapping[str, Any]) -> str | None:
    return next((v.format for v in operands.values() if isinstance(v, HostWeight)), None)


def time_step(backend: Backend, hosts: list[HostWeight], outside: list[HostWeight], layers: int) -> float:
    """Seconds one generated token would take: the products of one layer times the layers, and those outside them.

    Raises UnsupportedError where the backend cannot read a weight's format. Weights are uploaded for this and dropped.
    """
    return layers * _time_products(backend, hosts) + _time_products(backend, outside)


def _time_products(backend: Backend, hosts: list[HostWeight]) -> float:
    ops = [OPS["matvec_act8" if backend.can_act8(host.format) else "matvec"] for host in hosts]
    for op, host in zip(ops, hosts, strict=True):
        backend.require(op, host.format)
    inputs = [backend.act8(1, h.cols) if backend.can_act8(h.format) else backend.empty((1, h.cols)) for h in hosts]
    handles = [(x, backend.weight(h), backend.empty((1, h.rows))) for x, h in zip(inputs, hosts, strict=True)]

    def products() -> None:
        for op, (x, w, out), h in zip(ops, handles, hosts, strict=True):
            backend.run(op, x, w, out, tokens=1, rows=h.rows, cols=h.cols, row0=0, stride=h.rows)

    program = backend.program(products)

    def step() -> None:
        program()
        backend.read(handles[-1][2], (1,))

    step()
    best = math.inf
    for _ in range(3):
        start = time.perf_counter()
        step()
        best = min(best, time.perf_counter() - start)
    return best
