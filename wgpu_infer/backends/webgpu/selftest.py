"""A tiny kernel with a known result, run when a device is opened: immediates, workgroup memory, a loop, f16 values.

It decides whether unchecked shader modules (a private interface of wgpu-py) can be trusted here; where they fail, the
checked ones of the public interface are used. A device that fails with those too is not used at all.
"""

from __future__ import annotations

import logging

import numpy as np

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


def operands() -> tuple[np.ndarray, np.ndarray]:
    """(64, 2) halves and the expected 64 sums; the second half of each pair is subnormal."""
    pairs = np.stack([np.arange(SIZE, dtype=np.float16), np.full(SIZE, 2.0**-20, np.float16)], 1)
    values = pairs[:, 0].astype(np.float32) * np.float32(0.5) * np.float32(2.0**-8) + pairs[:, 1].astype(np.float32)
    return pairs, sum((np.roll(values, -i) for i in range(5)), np.zeros(SIZE, np.float32))


def passes(runtime: Runtime) -> bool:
    pairs, expected = operands()
    accesses = ("read", "read_write")
    x, out = runtime.create(pairs.nbytes), runtime.create(expected.nbytes)
    runtime.buffers.write(x, pairs.view(np.uint32))
    pipeline = runtime.pipelines.compile(SHADER, accesses, "self-test")
    immediates = np.uint32(5).tobytes() + np.float32(2.0**-9).tobytes()
    runtime.dispatch(pipeline, accesses, (x, out), immediates, (1,))
    return bool(np.array_equal(runtime.buffers.read(out, expected.nbytes).view(np.float32), expected))


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
