"""What an adapter reaches at best, by three tiny kernels: a copy, float32 multiply-adds, packed int8 dot products.

Each grows until it runs for MIN_S, so that a fast GPU is kept busy and a software adapter is not asked for seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

from wgpu_infer.backends.timing import Rates
from wgpu_infer.backends.webgpu.recorder import Dispatch
from wgpu_infer.backends.webgpu.resources import GpuBuffer
from wgpu_infer.backends.webgpu.runtime import Runtime
from wgpu_infer.backends.webgpu.timestamps import Timestamps
from wgpu_infer.contracts.contract import MAX_GROUPS

WG = 256
MIN_S = 2e-3
REPEATS = 4
COPY_BYTES = (8 << 20, 256 << 20)  # of one buffer: the least, and the most that is tried
TRIPS = 64  # of the arithmetic loops
HEAD = """
@group(0) @binding(0) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<u32>>;
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = group.x * 256u + lane;
"""
COPY = HEAD + "    if i < arrayLength(&y) { y[i] = x[i]; }\n}\n"


@dataclass(frozen=True)
class Arithmetic:
    """A loop over eight values that depend on themselves only; `each` operations a trip, on every invocation."""

    name: str
    start: str
    step: str
    end: str
    each: int

    @property
    def code(self) -> str:
        values = range(8)
        lines = [f"    var a{k} = {self.start.format(k=k)};" for k in values]
        steps = " ".join(self.step.format(k=k) for k in values)
        lines.append(f"    for (var trip = 0u; trip < {TRIPS}u; trip++) {{ {steps} }}")
        total = " + ".join(self.end.format(k=k) for k in values)
        return HEAD + "\n".join(lines) + f"\n    y[lane] = {total};\n}}\n"


FLOAT32 = Arithmetic(
    "float32",
    "vec4<f32>(f32(i + {k}u)) * 1e-9",
    "a{k} = fma(a{k}, vec4<f32>(0.999), vec4<f32>(1e-6));",
    "vec4<u32>(a{k})",
    8 * 4 * 2,
)
INT8 = Arithmetic("int8", "i32(i + {k}u)", "a{k} += dot4I8Packed(u32(a{k}), i);", "vec4<u32>(u32(a{k}))", 8 * 4 * 2)


def measure(runtime: Runtime, timestamps: Timestamps) -> Rates:
    """Takes some tens of milliseconds and two buffers, which are dropped. Needs the runtime's lock."""
    copy = measure_copy(runtime, timestamps)
    float32, int8 = (measure_arithmetic(runtime, timestamps, kernel) for kernel in (FLOAT32, INT8))
    return Rates(copy, float32, int8)


def measure_copy(runtime: Runtime, timestamps: Timestamps) -> float:
    """Bytes read and written per second."""
    most = min(COPY_BYTES[1], runtime.device.max_binding, 16 * WG * MAX_GROUPS)
    nbytes = COPY_BYTES[0]
    while True:
        buffers = runtime.create(nbytes), runtime.create(nbytes)
        seconds = best(timestamps, prepare(runtime, "copy", COPY, buffers, nbytes // (16 * WG)))
        if seconds >= MIN_S or 2 * nbytes > most:
            return 2 * nbytes / seconds
        nbytes *= 2


def measure_arithmetic(runtime: Runtime, timestamps: Timestamps, kernel: Arithmetic) -> float:
    """Operations per second."""
    buffers = runtime.create(16 * WG), runtime.create(16 * WG)
    groups = 64
    while True:
        seconds = best(timestamps, prepare(runtime, kernel.name, kernel.code, buffers, groups))
        if seconds >= MIN_S or 4 * groups > MAX_GROUPS:
            return groups * WG * TRIPS * kernel.each / seconds
        groups *= 4


def best(timestamps: Timestamps, dispatch: Dispatch) -> float:
    """The shortest of several runs, after one to warm up."""
    times = timestamps.apart([dispatch] * (REPEATS + 1))
    return max(float((times[1:, 1] - times[1:, 0]).min()), 1e-9)


def prepare(runtime: Runtime, name: str, code: str, buffers: tuple[GpuBuffer, GpuBuffer], groups: int) -> Dispatch:
    accesses = ("read", "read_write")
    pipeline = runtime.pipelines.compile(code, accesses, f"rate of {name}")
    return runtime.prepare(name, pipeline, accesses, buffers, b"", (groups,))
