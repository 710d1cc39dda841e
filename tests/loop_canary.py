"""A kernel with one long loop: some adapters (old Mesa software rasterisers) end all loops of an invocation together
after 65,535 trips and give a wrong result without an error. Our kernels stay below 60,000.
"""

from __future__ import annotations

import numpy as np

from wgpu_infer.backends.webgpu.compute import Buffer, Kernel

TRIPS = 70_000
SHADER = """
@group(0) @binding(0) var<storage, read> trips: array<u32>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
@compute @workgroup_size(1)
fn main() {
    var state = 1u;
    for (var i = 0u; i < trips[0]; i++) { state = state * 5u + 1u; out[0] = i + 1u; }
    out[1] = state; // no compiler knows a short way to it
}
"""


def trips_done(backend) -> int:
    """How many of TRIPS trips an invocation makes on the backend's device."""
    runtime = backend.runtime
    trips, out = np.array([TRIPS], np.uint32), np.zeros(2, np.uint32)
    with runtime.lock:
        buffers = [Buffer(runtime, runtime.create(a.nbytes), a.shape, a.dtype) for a in (trips, out)]
    buffers[0].write(trips)
    Kernel(runtime, SHADER, "main", 1)(*buffers)
    return int(buffers[1].numpy()[0])
