"""The WebGPU backend: runs ops as compute shaders on any GPU that wgpu reaches.

`run` appends to one compute pass, which is submitted when something is read or written or enough has gathered; while
`program` records, it appends to the program instead.
Weights stay quantised; one that is larger than a binding may be is held in pieces by rows, each a dispatch of its
own. Calls from several threads are serialised. Only `read` (and very large writes) wait for the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from wgpu_infer.backends.base import KV, Act8, Array, Backend, Handle, Weight, check_operands
from wgpu_infer.backends.memory import Memory
from wgpu_infer.backends.timing import Tuned
from wgpu_infer.backends.webgpu import pages, selftest, shader, variants, weights
from wgpu_infer.backends.webgpu.caps import Caps, env_flag
from wgpu_infer.backends.webgpu.device import GpuDevice
from wgpu_infer.backends.webgpu.gpu_timer import GpuTimer
from wgpu_infer.backends.webgpu.pace import CHUNK
from wgpu_infer.backends.webgpu.pack import LAYOUTS, is_dense
from wgpu_infer.backends.webgpu.pipelines import Accesses
from wgpu_infer.backends.webgpu.program import Program
from wgpu_infer.backends.webgpu.readback import Readback
from wgpu_infer.backends.webgpu.recorder import Dispatch
from wgpu_infer.backends.webgpu.resources import Resource
from wgpu_infer.backends.webgpu.runtime import Runtime
from wgpu_infer.backends.webgpu.tuning import Choices, Tuner, budget
from wgpu_infer.backends.webgpu.variants import Variant
from wgpu_infer.backends.webgpu.weights import Piece
from wgpu_infer.contracts.contract import Op, lower_webgpu
from wgpu_infer.contracts.host import ACT8_BLOCK, HostAct8, HostKV, HostRows
from wgpu_infer.contracts.table import OPS
from wgpu_infer.contracts.work import Keys, work
from wgpu_infer.errors import UnsupportedError

Call = tuple[Op, tuple[Handle, ...], dict[str, Any], Piece | None]  # of an op, for one piece of its weight


class WebGPUBackend(Backend):
    """Payloads: a GpuBuffer, a tuple of Pieces, a (K, V) pair or act8 triple of GpuBuffers.

    Args:
        adapter, checked, lowered: as of GpuDevice.
        eager: True issues recorded steps through wgpu's public API (as does WGPU_INFER_EAGER=1), slower and to the same
            bits; default where the self-test of the compiled replay fails.
    """

    name = "webgpu"
    can_run_ahead = True

    def __init__(
        self,
        adapter: str | None = None,
        checked: bool | None = None,
        lowered: Mapping[str, Any] = {},
        eager: bool | None = None,
    ):
        self.device = GpuDevice(adapter, checked, lowered)
        self.runtime = Runtime(self.device)
        self.readback = Readback(self.runtime)
        self.is_software = self.device.info.kind == "software"
        self.lock = self.runtime.lock
        self.choices = Choices(self.device)
        self.tune_seconds = budget(self.is_software)
        self.most_array_bytes = self.device.max_binding
        self.most_prompt_tokens = Backend.most_prompt_tokens if self.is_software else CHUNK[1]
        self._recording: list[Call] | None = None
        selftest.run(self.runtime)
        self.caps = self._measured_caps(lowered)
        wanted = env_flag("WGPU_INFER_EAGER") if eager is None else eager
        self.eager = wanted or not selftest.can_replay(self.runtime)

    def _measured_caps(self, lowered: Mapping[str, Any]) -> Caps:
        caps = self.device.caps
        if caps.kind != "software" or not caps.subgroups:
            return caps
        size = selftest.subgroup_size(self.runtime)
        return replace(caps, subgroup_min=lowered.get("subgroup_min", size), subgroup_max=size)

    def empty(self, shape: tuple[int, ...], dtype: Any = np.float32, label: str = "") -> Array:
        with self.lock:
            kind = np.dtype(dtype)
            return Array(shape, kind, self.runtime.create(math.prod(shape) * kind.itemsize, label), label)

    def weight(self, host: HostRows, label: str = "", rows_only: bool = False) -> Weight:
        if reason := missing_format(host.format):
            raise UnsupportedError(f"{label or 'a weight'} in {host.format} does not run on webgpu: {reason}")
        with self.lock:
            pieces = weights.upload(self.runtime, host, self.caps.max_binding, label)
            return Weight(host.rows, host.cols, host.format, pieces, label)

    def kv(self, pages_: int, kv_heads: int, head_dim: int, table: Array, dtype: str) -> KV:
        pages.check_pages(dtype, head_dim)
        size = 4 * pages.page_words(dtype, pages_, kv_heads, head_dim)
        with self.lock:
            buffers = (self.runtime.create_pages(size, "keys"), self.runtime.create_pages(size, "values"))
            return KV(pages_, kv_heads, head_dim, dtype, table, buffers)

    def write(self, array: Array, values: np.ndarray) -> None:
        with self.lock:
            self.runtime.buffers.write(array.payload, np.ascontiguousarray(values, array.dtype))

    def read(self, array: Array, shape: tuple[int, ...]) -> np.ndarray:
        with self.lock, self.runtime.span("read back, waiting for the GPU"):
            raw = self.runtime.buffers.read(array.payload, math.prod(shape) * array.dtype.itemsize)
            return raw.view(array.dtype).reshape(shape)

    def can_act8(self, fmt: str) -> bool:
        return self.caps.packed_dot and not is_dense(fmt)

    def act8(self, rows: int, cols: int, label: str = "") -> Act8:
        """Payload: codes, scales and half sums, a buffer each."""
        blocks = rows * cols // ACT8_BLOCK
        with self.lock:
            return Act8(rows, cols, tuple(self.runtime.create(blocks * size, label) for size in (32, 4, 4)), label)

    def write_act8(self, array: Act8, values: HostAct8) -> None:
        with self.lock:
            for buffer, part in zip(array.payload, (values.codes, values.scales, values.sums), strict=True):
                self.runtime.buffers.write(buffer, np.ascontiguousarray(part).reshape(-1).view(np.uint32))

    def read_act8(self, array: Act8, rows: int) -> HostAct8:
        size = rows * array.cols
        with self.lock:
            codes = self.runtime.buffers.read(array.payload[0], size).view(np.int8)
            scales = self.runtime.buffers.read(array.payload[1], size // ACT8_BLOCK * 4).view(np.float32)
        return HostAct8(codes.reshape(rows, -1), scales.reshape(rows, -1))

    def read_later(self, array: Array, shape: tuple[int, ...]) -> Callable[[], np.ndarray]:
        with self.lock:
            take = self.readback.start(array.payload, math.prod(shape) * array.dtype.itemsize)
            return lambda: take().view(array.dtype).reshape(shape)

    def write_kv(self, kv: KV, host: HostKV) -> None:
        with self.lock:
            for buffer, values in zip(kv.payload, (host.k, host.v), strict=True):
                self.runtime.buffers.write(buffer, pages.encode(values, kv.dtype))

    def read_kv(self, kv: KV) -> HostKV:
        shape = (kv.pages, kv.kv_heads, pages.PAGE_SLOTS, kv.head_dim)
        size = 4 * pages.page_words(kv.dtype, kv.pages, kv.kv_heads, kv.head_dim)
        with self.lock:
            k, v = (self.runtime.buffers.read(buffer, size).view(np.uint32) for buffer in kv.payload)
            table = self.read(kv.table, kv.table.shape)
        return HostKV(pages.decode(k, kv.dtype, shape), pages.decode(v, kv.dtype, shape), table, kv.dtype)

    def run(self, op: Op, *operands: Handle, **params: int | float) -> None:
        check_operands(op, operands, params)
        with self.lock:
            weight = next((value for value in operands if isinstance(value, Weight)), None)
            for piece in weight.payload if weight else (None,):
                if self._recording is None:
                    self.runtime.recorder.dispatch(self._prepare(op, operands, params, piece))
                else:
                    self._recording.append((op, operands, params, piece))

    def _prepare(
        self,
        op: Op,
        operands: tuple[Handle, ...],
        params: dict[str, Any],
        piece: Piece | None,
        variant: Variant | None = None,
    ) -> Dispatch:
        """The op, or what of it falls to one piece of its weight; parts of a piece take the piece's variant."""
        fmt, own = format_of(operands), piece_params(piece, params)
        chosen = variant or self.choices.pick(op, fmt, own, self.caps)
        accesses = accesses_of(op, self.caps)
        can_cut = self.caps.kind != "software" and not self.caps.textures  # a texture is bound from its beginning

        def cut(rows: range) -> Dispatch:
            assert piece is not None and fmt is not None
            return self._prepare(op, operands, params, weights.cut(piece, rows, fmt, own["cols"]), chosen)

        return self.runtime.prepare(
            op.name,
            self.runtime.pipelines.pipeline(shader.module_of(chosen, fmt, self.caps), accesses),
            accesses,
            bound_resources(operands, piece),
            np.array([tuple(own[name] for name in op.param_names())], op.params).tobytes(),
            variants.groups(op, own, chosen),
            format=fmt,
            params=own,
            work=work(op, own, fmt).operations,
            cut=cut if piece is not None and can_cut else None,
        )

    def program(self, build: Callable[[], None]) -> Program:
        """The dispatches of what `build` runs, recorded; they are issued by each call of the program."""
        return Program(self.runtime, lambda: self._record(build), self.eager)

    def _record(self, build: Callable[[], None]) -> list[Dispatch]:
        outer, self._recording = self._recording, []
        try:
            build()
            calls = self._recording
        finally:
            self._recording = outer
        self._compile(calls)
        return [self._prepare(*call) for call in calls]

    def _compile(self, calls: Sequence[Call]) -> None:
        """Makes the pipelines that the calls lack, before any of their dispatches, so that it is known how many."""
        missing: dict[shader.Module, Accesses] = {}
        for op, operands, params, piece in calls:
            fmt, own = format_of(operands), piece_params(piece, params)
            module = shader.module_of(self.choices.pick(op, fmt, own, self.caps), fmt, self.caps)
            if module not in self.runtime.pipelines:
                missing[module] = accesses_of(op, self.caps)
        for ready, (module, accesses) in enumerate(missing.items(), 1):
            self.runtime.pipelines.pipeline(module, accesses)
            self.compile_progress(ready, len(missing))

    def missing(self, op: Op, fmt: str | None = None) -> str | None:
        return missing(op, fmt)

    @property
    def rates(self) -> dict[str, float]:
        """Operations per second that long steps were seen to reach, by their main op."""
        return dict(self.runtime.pace.rates)

    def chunk(self, operations: float, most: int) -> int:
        """A software adapter has no watchdog, and takes nothing else meanwhile."""
        return most if self.caps.kind == "software" else min(most, self.runtime.pace.chunk(operations))

    def tune(self, programs: Sequence[Callable[[], None]], seconds: float, again: bool = False) -> list[Tuned]:
        """Runs single ops of the programs: what their buffers hold afterwards means nothing."""
        with self.lock:
            dispatches = [d for program in programs if isinstance(program, Program) for d in program.dispatches]
            tuner = Tuner(self.runtime, self.choices, self.caps, self._with_variant, self.tune_progress)
            return tuner.tune(dispatches, seconds, again)

    def _with_variant(self, d: Dispatch, variant: Variant) -> Dispatch:
        op = OPS[d.op]
        accesses = accesses_of(op, self.caps)
        pipeline = self.runtime.pipelines.pipeline(shader.module_of(variant, d.format, self.caps), accesses)
        groups = variants.groups(op, d.params, variant)
        return replace(d, pipeline=pipeline, groups=groups, cut=None)  # parts would run the variant that d was made for

    def timer(self, keys: Callable[[], Keys | None]) -> GpuTimer:
        return GpuTimer(self.runtime, keys)

    def expect_weights(self, nbytes: int) -> None:
        with self.lock:
            self.runtime.arenas.expect(nbytes)

    def trim(self) -> None:
        with self.lock:
            self.runtime.pool.trim()

    def memory(self) -> Memory:
        with self.lock:
            return self.runtime.memory()

    def describe(self) -> str:
        subgroups = "subgroups" if self.caps.subgroups else "no subgroups"
        return f"webgpu: {self.device.info.summary()}, {subgroups}"

    def flush(self) -> None:
        with self.lock:
            self.runtime.recorder.flush()

    def close(self) -> None:
        self.readback.close()
        self.runtime.close()


def missing(op: Op, fmt: str | None = None) -> str | None:
    """Why no adapter runs the op (with that weight format or KV type), or None: it depends on files, not on devices."""
    if fmt is not None and op.weight is not None and (reason := missing_format(fmt)):
        return reason
    return shader.missing_file(op, fmt)


def missing_format(fmt: str) -> str | None:
    """Why no shader reads weights of this format, or None."""
    if not shader.path_of(f"quant_{fmt.lower()}", shared=True).is_file():
        return f"there is no shader shaders/shared/quant_{fmt.lower()}.wgsl"
    return None if fmt in LAYOUTS else f"no packing is known for {fmt}"


def piece_params(piece: Piece | None, params: dict[str, Any]) -> dict[str, Any]:
    """The call's parameters for one piece of its weight."""
    return params if piece is None else {**params, "rows": piece.rows, "row0": params["row0"] + piece.row0}


def format_of(operands: tuple[Handle, ...]) -> str | None:
    """The weight's format or the cache's type."""
    for value in operands:
        if isinstance(value, Weight):
            return value.format
        if isinstance(value, KV):
            return value.dtype
    return None


def accesses_of(op: Op, caps: Caps) -> Accesses:
    """How each binding is accessed, in the order of `lower_webgpu`."""
    names = {f"{op.weight.name}_codes", f"{op.weight.name}_scales"} if op.weight and caps.textures else set()
    return tuple("texture" if name in names else access for name, access, _ in lower_webgpu(op))


def bound_resources(operands: tuple[Handle, ...], piece: Piece | None) -> list[Resource]:
    """What the operands lie in, in the order of `lower_webgpu`."""
    out: list[Resource] = []
    for value in operands:
        if isinstance(value, KV):
            out += [*value.payload, value.table.payload]
        elif isinstance(value, Act8):
            out += value.payload
        elif isinstance(value, Array):
            out.append(value.payload)
        elif piece is not None:
            out += [piece.codes, piece.scales]
    return out
