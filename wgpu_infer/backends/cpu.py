"""The CPU backend: every op's numba twin (cpu_fallback) on flat numpy arrays.

A call turns handles into the arguments of `lower_cpu(op)` and becomes a step of a program (cpu_fallback/program.py):
a program of its own, run at once, or while `program` records, one of many that run together later, as often as asked
for. Weights that are factors are packed into tiles when they come; a table of rows stays as it lies in the file.
Twins check index rows themselves; a row that points outside its operand becomes a ParameterError. Any thread may
call; programs of one backend wait for each other.
"""

from __future__ import annotations

import functools
import importlib
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from wgpu_infer.backends.base import KV, Act8, Array, Backend, Handle, Weight, check_operands
from wgpu_infer.backends.cpu_operands import (
    Blocks,
    Buffer,
    Int8Blocks,
    Lowered,
    Pages,
    lower,
    raw_blocks,
    refusal,
    zeros,
)
from wgpu_infer.backends.cpu_pages import PAGE_FORMATS
from wgpu_infer.backends.memory import Ledger, Memory
from wgpu_infer.contracts.contract import Op
from wgpu_infer.contracts.host import ACT8_BLOCK, HostAct8, HostKV, HostRows, HostWeight, check_kv
from wgpu_infer.errors import DeviceError, ParameterError, UnsupportedError
from wgpu_infer.formats import quants

# A program that moves fewer bytes (some 100 µs of work) is left to one thread: to wake the others takes 50 µs, more
# where other programs keep the cores busy. Results are the same for any number of threads.
SERIAL_BYTES = 1 << 20
PACKED_AT_ONCE = 16 << 20  # bytes of a weight


@dataclass(frozen=True)
class Call:
    """A step's op and operands, for the error that names them."""

    op: Op
    operands: tuple[Handle, ...]


class CPUBackend(Backend):
    """Payloads: `Buffer`, `Blocks`, `Pages`, `Int8Blocks`.

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
        self._lock = threading.RLock()  # of the scratch memory and the recording
        self._ledger = Ledger()
        self._recording: list[tuple[Any, Call]] | None = None
        self.threads: int = self._kernels.threads.physical_cores() if threads is None else self._checked(threads)
        self._workspace = zeros((1,), np.float32, "a workspace")
        self._scratch = zeros((self.threads, self._kernels.jit.SCRATCH), np.float32, "working memory")

    def _checked(self, threads: Any) -> int:
        most = self._kernels.threads.most()
        if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= most:
            raise ParameterError(
                f"threads={threads!r} is not possible; allowed: 1 to {most} (NUMBA_NUM_THREADS sets the limit)"
            )
        return threads

    # -- handles ---------------------------------------------------------------------------------------------------

    def empty(self, shape: tuple[int, ...], dtype: Any = np.float32, label: str = "") -> Array:
        payload = Buffer(zeros((math.prod(shape),), dtype, label))
        self._ledger.hold("arrays", payload.flat.nbytes, payload)
        return Array(shape, np.dtype(dtype), payload, label)

    def weight(self, host: HostRows, label: str = "", rows_only: bool = False) -> Weight:
        if reason := self._missing_format(host.format):
            raise UnsupportedError(f"weight {label}: {reason}")
        expected = host.rows * quants.row_bytes(host.format, host.cols)
        if host.nbytes != expected:
            raise ParameterError(f"weight {label} has {host.nbytes} bytes, {host.format} of its shape takes {expected}")
        raw = raw_blocks(host.data) if isinstance(host, HostWeight) else None
        weight = Weight(host.rows, host.cols, host.format, Blocks(raw, quants.get_format(host.format).ggml_type), label)
        if not rows_only:
            self._pack(weight, host)
        blocks = weight.payload
        self._ledger.hold("weights", host.nbytes if blocks.packed is None else blocks.packed.nbytes, blocks)
        return weight

    def _pack(self, weight: Weight, host: HostRows) -> None:
        """Makes the tiles that products read, a piece of the weight after the other."""
        blocks, pack = weight.payload, self._kernels.pack
        layout = pack.find_layout(blocks.kind)
        blocks.packed = zeros((pack.packed_size(layout, host.rows, host.cols),), np.uint8, f"the weight {weight.label}")
        tile_bytes, at_once = layout.tile_bytes(host.cols), max(1, PACKED_AT_ONCE // layout.tile_bytes(host.cols))
        with self._lock, self._gate:
            self._check_process()
            self._kernels.threads.use(self.threads if host.nbytes > SERIAL_BYTES else 1)
            for first in range(0, -(-host.rows // pack.ROWS), at_once):
                piece = host.slice_rows(first * pack.ROWS, min((first + at_once) * pack.ROWS, host.rows))
                out = blocks.packed[first * tile_bytes :]
                pack.pack_tiles(raw_blocks(piece.data), blocks.kind, piece.rows, host.cols, out)

    def kv(self, pages: int, kv_heads: int, head_dim: int, table: Array, dtype: str) -> KV:
        check_kv(dtype, head_dim)
        item, *shapes = self._kernels.kv.storage(dtype, head_dim)
        payload = Pages(*(zeros((pages, kv_heads, *shape), item, "the KV cache") for shape in shapes))
        self._ledger.hold("kv", payload.k.nbytes + payload.v.nbytes, payload)
        return KV(pages, kv_heads, head_dim, dtype, table, payload)

    def can_act8(self, fmt: str) -> bool:
        return quants.get_format(fmt).ggml_type in self._kernels.layouts.LAYOUTS

    def act8(self, rows: int, cols: int, label: str = "") -> Act8:
        if cols % ACT8_BLOCK:
            raise TypeError(f"int8 activations of {cols} columns: they come in blocks of {ACT8_BLOCK}")
        blocks = rows * cols // ACT8_BLOCK
        sizes = ((rows * cols, np.int8), (blocks, np.float32), (2 * blocks, np.int16))
        payload = Int8Blocks(*(Buffer(zeros((n,), kind, label)) for n, kind in sizes))
        self._ledger.hold("arrays", rows * cols + 8 * blocks, payload)
        return Act8(rows, cols, payload, label)

    def memory(self) -> Memory:
        return self._ledger.memory()

    def write(self, array: Array, values: np.ndarray) -> None:
        array.payload.flat[: values.size] = values.reshape(-1)

    def read(self, array: Array, shape: tuple[int, ...]) -> np.ndarray:
        return array.payload.flat[: math.prod(shape)].reshape(shape).copy()

    def write_act8(self, array: Act8, values: HostAct8) -> None:
        codes, scales, sums = array.payload.views(*values.shape)
        codes[...], scales[...], sums[...] = values.codes, values.scales, values.sums

    def read_act8(self, array: Act8, rows: int) -> HostAct8:
        codes, scales, _ = array.payload.views(rows, array.cols)
        return HostAct8(codes.copy(), scales.copy())

    def write_kv(self, kv: KV, host: HostKV) -> None:
        pages = PAGE_FORMATS[kv.dtype]
        kv.payload.k[...], kv.payload.v[...] = pages.k_pages_from_values(host.k), pages.v_pages_from_values(host.v)

    def read_kv(self, kv: KV) -> HostKV:
        pages, payload = PAGE_FORMATS[kv.dtype], kv.payload
        k, v = pages.k_values_from_pages(payload.k, kv.head_dim), pages.v_values_from_pages(payload.v, kv.head_dim)
        return HostKV(k, v, self.read(kv.table, kv.table.shape), kv.dtype)

    # -- what runs here --------------------------------------------------------------------------------------------

    def missing(self, op: Op, fmt: str | None = None) -> str | None:
        twin = find_twin(op.name)
        if twin is None:
            return f"there is no cpu_fallback/{op.name}.py"
        if fmt in quants.FORMATS and hasattr(twin, "reads") and not twin.reads(quants.get_format(fmt).ggml_type):
            return f"cpu_fallback/{op.name}.py does not read {fmt}"
        return None

    def _missing_format(self, fmt: str) -> str | None:
        if quants.get_format(fmt).ggml_type in self._kernels.formats.DEQUANTIZE_ROW:
            return None
        return f"cpu_fallback/formats.py does not read {fmt}"

    # -- running ---------------------------------------------------------------------------------------------------

    def run(self, op: Op, *operands: Handle, **params: int | float) -> None:
        check_operands(op, operands, params)
        with self._lock:
            steps = [(step, Call(op, operands)) for step in self._steps(op, operands, params)]
            if self._recording is not None:
                self._recording += steps
            else:
                self._run_program(self._new_program(steps), steps)

    def program(self, build: Callable[[], None]) -> Callable[[], None]:
        """Records the ops that `build` runs; nothing is computed until what is returned is called."""
        with self._lock:
            if self._recording is not None:
                raise RuntimeError("a program is being recorded already")
            steps: list[tuple[Any, Call]] = []
            self._recording = steps
            try:
                build()
            finally:
                self._recording = None
            program = self._new_program(steps)
        return functools.partial(self._run_program, program, steps)

    def _new_program(self, steps: list[tuple[Any, Call]]) -> Any:
        moved = sum(step.moved for step, _ in steps)
        workers = self.threads if moved >= SERIAL_BYTES else 1
        return self._kernels.program.Program([step for step, _ in steps], workers, self.compile_progress)

    def _run_program(self, program: Any, steps: list[tuple[Any, Call]]) -> None:
        with self._lock, self._gate:
            self._check_process()
            self._kernels.threads.use(program.workers)
            failed = program.run(self._scratch)
            if failed is not None:
                call = steps[failed][1]
                raise refusal(call.op, int(program.statuses[failed]), call.operands)

    def _check_process(self) -> None:
        """A process forked from one whose threads have run would be ended by them without a word."""
        if self._kernels.threads.is_forked():
            raise DeviceError(
                "this process was forked from one that has used the CPU kernels, whose threads do not come along; "
                'start it with multiprocessing.get_context("spawn")'
            )

    def _steps(self, op: Op, operands: tuple[Handle, ...], params: dict[str, Any]) -> list[Any]:
        """The op as steps of a program: one, or one per stage of its twin."""
        given = {name: cast_for(op.params[name])(params[name]) for name in op.param_names()}
        module = find_module(op.name)
        if module is not None and hasattr(module, "stand_in") and (name := module.stand_in(**given)):
            module = find_module(name)
        if module is None or (twin := getattr(module, module.__name__.rsplit(".", 1)[-1], None)) is None:
            raise UnsupportedError(f"{op.name} does not run on cpu: there is no cpu_fallback/{op.name}.py")
        shapes = [spec.shape(params) for spec in op.operands]
        lowered = lower(op, operands, shapes, params, raw=getattr(twin, "raw", False))
        arguments = lowered.arguments + list(given.values())
        if hasattr(twin, "reads"):
            twin = twin.twin(next(v.payload.kind for v in operands if isinstance(v, Weight)))
        if not hasattr(module, "stages"):
            return [self._step(twin, arguments, lowered, module.parts(**given, weight_bytes=lowered.weight_bytes))]
        workspace = self._take_workspace(module.workspace(**given))
        lowered.writes.add(id(self._workspace))
        return [
            self._step(stage, [*arguments, workspace], lowered, module.parts(i, **given))
            for i, stage in enumerate(module.stages)
        ]

    def _take_workspace(self, size: int) -> np.ndarray:
        """Memory for what an op's stages hand on, the same for all ops: as its writers they wait for each other."""
        if self._workspace.size < size:
            self._workspace = zeros((size,), np.float32, "a workspace")
        return self._workspace[:size]

    def _step(self, twin: Any, arguments: list[Any], lowered: Lowered, parts: int) -> Any:
        entries, program = self._kernels.entry, self._kernels.program
        kinds = tuple(entries.kind_of(value) for value in arguments)
        moved = sum(value.nbytes for value in arguments if isinstance(value, np.ndarray))
        touched = frozenset(lowered.reads), frozenset(lowered.writes)
        return program.Step(twin, kinds, entries.record(arguments), parts, *touched, moved, arguments, lowered.columns)

    def describe(self) -> str:
        kernels = self._kernels
        name = f"{kernels.variant.host_name()} ({kernels.variant.ACTIVE})"
        return f"cpu: {name}, {self.threads} threads ({kernels.threads.layer()})"


def to_float(value: Any) -> float:
    """A float parameter as the GPU would get it: rounded to float32."""
    return float(np.float32(value))


def cast_for(dtype: np.dtype) -> Callable[[Any], int | float]:
    return to_float if dtype.kind == "f" else int


@functools.cache
def find_module(name: str) -> Any:
    """cpu_fallback/<name>.py, or None where there is none."""
    module = f"cpu_fallback.{name}"
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        return None


def find_twin(name: str) -> Any | None:
    """The twin of an op; None where there is none."""
    return getattr(find_module(name), name, None)


@functools.cache
def load_kernels() -> SimpleNamespace:
    """The helper modules of cpu_fallback, once its self-test has passed. DeviceError where numba does not work."""
    names = ("entry", "formats", "jit", "kernel_cache", "kv", "layouts", "pack", "program", "threads", "variant")
    try:
        from cpu_fallback import selftest

        problem = selftest.run()
        modules = {name: importlib.import_module(f"cpu_fallback.{name}") for name in names}
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    if problem is not None:
        raise DeviceError(f"the CPU kernels do not work here ({problem}); --device reference runs without numba")
    return SimpleNamespace(**modules)
