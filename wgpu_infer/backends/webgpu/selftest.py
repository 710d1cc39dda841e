"""A tiny kernel with a known result, run when a device is opened: immediates, workgroup memory, a loop, f16 values.

It decides whether unchecked shader modules (a private interface of wgpu-py) can be trusted here; where they fail, the
checked ones of the public interface are used. A device that fails with those too is not used at all. The same kernel
decides whether recorded steps are replayed by compiled calls.
"""

from __future__ import annotations

import logging

import numpy as np

from wgpu_infer.backends.webgpu.native_replay import Replay
from wgpu_infer.backends.webgpu.recorder import Dispatch
from wgpu_infer.backends.webgpu.resources import GpuBuffer
from wgpu_infer.backends.webgpu.runtime import Runtime
from wgpu_infer.errors import DeviceError

log = logging.getLogger(__name__)

SIZE = 64
SHADER = """
struct Params { count: u32, scale: f32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> halves: array<u32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
var<workgroup> values: array<f32, 64>;
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
    let pair = unpack2x16float(halves[lane]);
    values[lane] = fma(pair.x, params.scale, pair.y);
    workgroupBarrier();
    var sum = 0.0;
    for (var i = 0u; i < params.count; i++) { sum += values[(lane + i) & 63u]; }
    out[lane] = sum;
}
"""


SUBGROUP = """
@group(0) @binding(0) var<storage, read_write> out: array<u32>;
@compute @workgroup_size(1)
fn main(@builtin(subgroup_size) size: u32) { out[0] = size; }
"""


def operands() -> tuple[np.ndarray, np.ndarray]:
    """(64, 2) halves and the expected 64 sums; the second half of each pair is subnormal."""
    pairs = np.stack([np.arange(SIZE, dtype=np.float16), np.full(SIZE, 2.0**-20, np.float16)], 1)
    values = pairs[:, 0].astype(np.float32) * np.float32(0.5) * np.float32(2.0**-8) + pairs[:, 1].astype(np.float32)
    return pairs, sum((np.roll(values, -i) for i in range(5)), np.zeros(SIZE, np.float32))


def prepare(runtime: Runtime) -> tuple[list[Dispatch], GpuBuffer]:
    """The kernel twice, with other immediates the second time, and the buffer that each writes."""
    pairs, _ = operands()
    accesses = ("read", "read_write")
    x, out = runtime.create(pairs.nbytes), runtime.create(4 * SIZE)
    runtime.buffers.write(x, pairs.view(np.uint32))
    pipeline = runtime.pipelines.compile(SHADER, accesses, "self-test")
    immediates = [np.uint32(count).tobytes() + np.float32(2.0**-9).tobytes() for count in (3, 5)]
    return [runtime.prepare("self-test", pipeline, accesses, (x, out), each, (1,)) for each in immediates], out


def subgroup_size(runtime: Runtime) -> int:
    """Invocations of a subgroup, which adapters do not tell."""
    out = runtime.create(4)
    pipeline = runtime.pipelines.compile(SUBGROUP, ("read_write",), "size of subgroups")
    runtime.recorder.dispatch(runtime.prepare("subgroups", pipeline, ("read_write",), (out,), b"", (1,)))
    return int(runtime.buffers.read(out, 4).view(np.uint32)[0])


def passes(runtime: Runtime) -> bool:
    dispatches, out = prepare(runtime)
    for dispatch in dispatches:
        runtime.recorder.dispatch(dispatch)
    return is_expected(runtime, out)


def is_expected(runtime: Runtime, out: GpuBuffer) -> bool:
    return bool(np.array_equal(runtime.buffers.read(out, 4 * SIZE).view(np.float32), operands()[1]))


def can_replay(runtime: Runtime) -> bool:
    """Whether a recorded list gives the known result when compiled calls into the native library replay it."""
    try:
        dispatches, out = prepare(runtime)
        runtime.recorder.flush()
        replay = Replay(runtime.device.handle, [dispatches[:1], dispatches[1:]])
        with runtime.device.errors("replaying the self-test"):
            replay()
        if is_expected(runtime, out):
            return True
        reason = "wrong results"
    except Exception as error:  # whatever another wgpu-py or numba brings
        if runtime.device.lost:
            raise
        reason = f"{type(error).__name__}: {error}"
    log.warning("recorded steps go through wgpu's public API on %s (%s)", runtime.device.info.name, reason)
    return False


def run(runtime: Runtime) -> None:
    """Raises DeviceError where even checked shaders compute wrongly."""
    if not runtime.device.checked:
        try:
            if passes(runtime):
                return
            reason = "wrong results"
        except DeviceError as error:
            reason = str(error)
            runtime.recorder.drop()
        log.warning("unchecked shaders fail on %s (%s); using checked ones", runtime.device.info.name, reason)
        runtime.device.checked = True
    if not passes(runtime):
        raise DeviceError(f"{runtime.device.info.summary()} computes a known sum wrongly; use --device cpu")
