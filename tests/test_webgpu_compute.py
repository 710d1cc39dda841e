"""`wi.Device`: a user's own shader on a user's own data."""

from __future__ import annotations

import numpy as np
import pytest

from wgpu_infer.backends.webgpu.compute import Device
from wgpu_infer.errors import DeviceError, ParameterError, UnsupportedError

pytestmark = pytest.mark.webgpu

SAXPY = """
struct Params { a: f32, n: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x < params.n { y[id.x] += params.a * x[id.x]; }
}
"""


@pytest.fixture(scope="module")
def device(open_once):
    open_once("webgpu")  # skips, or fails, where there is no adapter
    with Device() as opened:
        yield opened


def test_saxpy(device):
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((7, 143)).astype(np.float32) for _ in range(2))
    dx, dy = device.buffer(x), device.buffer(y)
    saxpy = device.kernel(SAXPY)
    saxpy(dx, dy, workgroups=16, a=2.5, n=1000)
    saxpy(dx, dy, workgroups=(16, 1, 1), a=-1.0, n=1000)
    got = dy.numpy()
    assert got.shape == (7, 143) and got.dtype == np.float32
    want = y.copy().reshape(-1)
    want[:1000] += 1.5 * x.reshape(-1)[:1000]
    np.testing.assert_allclose(got.reshape(-1), want, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(got.reshape(-1)[1000:], y.reshape(-1)[1000:])
    np.testing.assert_array_equal(dx.numpy(), x)


def test_kernels_without_immediates_and_other_types(device):
    code = """
        @group(0) @binding(1) var<storage, read_write> out: array<i32>;
        @group(0) @binding(0) var<storage> x: array<u32>;
        @compute @workgroup_size(4) fn negate(@builtin(global_invocation_id) id: vec3<u32>) {
            out[id.x] = -i32(x[id.x]);
        }
    """
    x, out = device.buffer(np.arange(8, dtype=np.uint32)), device.buffer(np.zeros(8, np.int32))
    device.kernel(code, entry="negate", workgroups=2)(x, out)
    np.testing.assert_array_equal(out.numpy(), -np.arange(8))
    out.write(np.full(8, 7))
    np.testing.assert_array_equal(out.numpy(), np.full(8, 7))


def test_an_index_out_of_bounds_touches_nothing_else(device):
    code = """
        @group(0) @binding(0) var<storage, read_write> x: array<u32>;
        @compute @workgroup_size(1) fn main() { x[1000000] = 7u; }
    """
    x, other = device.buffer(np.zeros(4, np.uint32)), device.buffer(np.zeros(1 << 20, np.uint32))
    device.kernel(code, workgroups=1)(x)
    assert not x.numpy()[:3].any() and not other.numpy().any()


@pytest.mark.parametrize(
    "old, new, error",
    [
        ("params.a *", "nope *", r"(?s)no definition in scope.*`nope`.*wgsl:9"),
        ("y[id.x] +=", "y[id.x] + =", r"(?s)expected.*wgsl:9"),
        ("fn main", "fn other", "Unable to find entry point 'main'"),
        ("var<storage, read_write>", "var<storage, read>", r"(?s):9:.*not permitted"),
    ],
)
def test_wgsl_that_is_not_valid_says_where(device, old, new, error):
    with pytest.raises(DeviceError, match=error):
        device.kernel(SAXPY.replace(old, new))


def test_calls_that_do_not_fit(device):
    saxpy = device.kernel(SAXPY)
    x = device.buffer(np.ones(4, np.float32))
    with pytest.raises(ParameterError, match=r"binds 2 buffers \(x, y\), 1 were given"):
        saxpy(x, workgroups=1, a=1, n=4)
    with pytest.raises(ParameterError, match=r"immediates \('a', 'n'\), \('a',\) were given"):
        saxpy(x, device.buffer(np.ones(4, np.float32)), workgroups=1, a=1)
    with pytest.raises(ParameterError, match="how many workgroups"):
        saxpy(x, device.buffer(np.ones(4, np.float32)), a=1, n=4)
    with pytest.raises(ParameterError, match="one buffer is bound to x and y, which is written"):
        saxpy(x, x, workgroups=1, a=1, n=4)
    with pytest.raises(ParameterError, match="workgroups must be one to three numbers from 1 to 65535"):
        saxpy(x, device.buffer(np.ones(4, np.float32)), workgroups=(1, 70000), a=1, n=4)
    with pytest.raises(ParameterError, match="float64"):
        device.buffer(np.ones(4))
    with pytest.raises(ParameterError, match="0 of float32"):
        device.buffer(np.ones(0, np.float32))
    with pytest.raises(ParameterError, match="shape"):
        x.write(np.ones(5))
    with pytest.raises(UnsupportedError, match="uniform"):
        device.kernel("@group(0) @binding(0) var<uniform> u: f32;")
    assert x.numpy().tolist() == [1] * 4, "a refused call leaves the device usable"


def test_a_device_names_itself(device):
    assert repr(device).startswith("Device(") and device.runtime.device.info.name in repr(device)
