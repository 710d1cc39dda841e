"""What happens when there is no adapter, the device is lost, memory runs out or a private interface is gone: always a
typed error, never an abort. Whatever could end the process runs in a child.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import child_environ

from wgpu_infer.backends.webgpu import native, selftest
from wgpu_infer.backends.webgpu.backend import WebGPUBackend
from wgpu_infer.backends.webgpu.device import classify
from wgpu_infer.contracts.table import OPS
from wgpu_infer.errors import DeviceError, OutOfMemoryError

pytestmark = pytest.mark.webgpu


def run_child(code: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=child_environ(**environment),
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_no_adapter_is_one_clear_line():
    nowhere = os.path.join(os.sep, "nonexistent")
    code = """
        from wgpu_infer.backends.registry import open_backend
        from wgpu_infer.errors import DeviceError
        try:
            open_backend("webgpu")
        except DeviceError as error:
            print(error)
    """
    child = run_child(code, VK_ICD_FILENAMES=nowhere, VK_DRIVER_FILES=nowhere)
    if child.stdout == "" and child.returncode == 0:
        pytest.skip("this machine reaches an adapter without Vulkan")
    assert child.returncode == 0, child.stderr
    assert child.stdout.startswith("no WebGPU adapter was found; use --device cpu") and child.stdout.count("\n") == 1


def test_opening_a_device_is_quiet_on_stderr(webgpu):
    child = run_child("from wgpu_infer.backends.registry import open_backend; open_backend('webgpu').close()")
    assert (child.returncode, child.stdout, child.stderr) == (0, "", "")


def test_an_adapter_name_that_does_not_exist(webgpu, monkeypatch):
    monkeypatch.setenv("WGPU_ADAPTER_NAME", "no such adapter")
    with pytest.raises(DeviceError, match="'no such adapter'; there are: "):
        WebGPUBackend()
    monkeypatch.setenv("WGPU_ADAPTER_NAME", webgpu.device.info.name[:4].upper())
    with WebGPUBackend() as backend:
        assert backend.device.info.name == webgpu.device.info.name


LOST = """
    import numpy as np
    from wgpu_infer.backends.webgpu.backend import WebGPUBackend
    from wgpu_infer.errors import DeviceError
    from wgpu_infer.contracts.table import OPS

    backend = WebGPUBackend()
    x, y = backend.array(np.ones(4, np.float32)), backend.array(np.ones(4, np.float32))
    add = lambda: backend.run(OPS["add"], x, y, n=4, period=4)
    {before}
    backend.device.handle.destroy()
    for name, call in dict(
        flush=backend.flush if {queued} else add,
        read=lambda: backend.read(x, (4,)),
        run=lambda: (add(), backend.flush()),
        write=lambda: backend.write(x, np.zeros(4, np.float32)),
        empty=lambda: backend.empty((4,)),
    ).items():
        try:
            call()
            print(name, "went through")
        except DeviceError as error:
            print(name, "lost" if "was lost" in str(error) else error)
    backend.close()
    print("closed")
"""


@pytest.mark.parametrize("queued", [True, False])
def test_a_lost_device_is_an_error_and_no_abort(queued, webgpu):
    """A submit on a lost device would abort the process."""
    child = run_child(LOST.format(before="add()" if queued else "pass", queued=queued))
    assert child.returncode == 0, child.stderr
    names = ["flush", "read", "run", "write", "empty"]
    assert child.stdout.split("\n")[:-1] == [f"{name} lost" for name in names] + ["closed"]


def test_a_device_lost_before_what_is_under_way_is_taken(webgpu):
    code = """
        import numpy as np
        from wgpu_infer.backends.webgpu.backend import WebGPUBackend
        from wgpu_infer.errors import DeviceError

        backend = WebGPUBackend()
        x = backend.array(np.ones(4, np.float32))
        taken, waiting = backend.read_later(x, (4,)), backend.read_later(x, (4,))
        print(taken())
        backend.device.handle.destroy()
        for call in (waiting, waiting, lambda: backend.read_later(x, (4,))):
            try:
                call()
            except DeviceError as error:
                print("lost" if "was lost" in str(error) else error)
    """
    child = run_child(code)
    assert child.returncode == 0, child.stderr
    assert child.stdout.split("\n")[:-1] == ["[1. 1. 1. 1.]", "lost", "lost", "lost"]


def test_a_device_lost_while_reading(webgpu):
    """The wait for a mapped buffer never ends by itself then."""
    code = """
        import numpy as np
        from wgpu_infer.backends.webgpu import buffers, native
        from wgpu_infer.backends.webgpu.backend import WebGPUBackend
        from wgpu_infer.errors import DeviceError

        backend = WebGPUBackend()
        x = backend.array(np.ones(4, np.float32))
        backend.read(x, (4,))
        buffers.PROBE_SECONDS = 0.1
        inner = native.map_for_reading

        def lose(buffer, size):
            promise = inner(buffer, size)
            backend.device.handle.destroy()
            return promise

        native.map_for_reading = lose
        try:
            backend.read(x, (4,))
        except DeviceError as error:
            print(error)
    """
    child = run_child(code)
    assert child.returncode == 0, child.stderr
    assert "was lost" in child.stdout


def test_a_closed_backend_refuses(webgpu):
    backend = WebGPUBackend()
    x = backend.array(np.ones(4, np.float32))
    backend.run(OPS["add"], x, backend.array(np.ones(4, np.float32)), n=4, period=4)
    backend.close()
    backend.close()
    for call in (lambda: backend.read(x, (4,)), lambda: backend.empty((4,)), lambda: backend.write(x, np.zeros(4))):
        with pytest.raises(DeviceError, match="closed"):
            call()


def test_arrays_that_are_too_large(webgpu):
    with pytest.raises(OutOfMemoryError, match=r"logits needs \d+ bytes; .* binds at most"):
        webgpu.empty((1 << 20, 1 << 20), label="logits")
    assert webgpu.read(webgpu.empty((4,)), (4,)).tolist() == [0] * 4, "the next good call works"


def test_memory_that_runs_out(webgpu, monkeypatch):
    """The device says so by a validation error; one retry comes first, after waiting for what was dropped."""
    webgpu.runtime.pool.trim()
    from wgpu import GPUValidationError

    calls = []
    handle = webgpu.device.handle
    create = handle.create_buffer

    def refuse(**arguments):
        if arguments["size"] < 1000:
            return create(**arguments)
        calls.append(arguments["size"])
        raise GPUValidationError(
            "Validation Error\n\nCaused by:\n  In wgpuDeviceCreateBuffer\n    Not enough memory left."
        )

    monkeypatch.setattr(handle, "create_buffer", refuse)
    with pytest.raises(OutOfMemoryError, match=r"allocating 4096 bytes for weights.*Not enough memory left"):
        webgpu.empty((1000,), label="weights")
    assert calls == [4096, 4096]


def test_messages_are_told_apart():
    assert isinstance(classify("Validation Error\n\nCaused by:\n    Not enough memory left.", "x"), OutOfMemoryError)
    assert str(classify("Validation Error\n\nCaused by:\n  Parent device is lost", "submitting")) == (
        "the WebGPU device was lost while submitting"
    )
    other = classify("Validation Error\n\nCaused by:\n  In wgpuX\n    too many", "binding")
    assert type(other) is DeviceError and str(other) == "WebGPU refused binding: In wgpuX too many"


def test_checked_modules_are_used_where_the_private_interface_is_gone(webgpu, monkeypatch, caplog):
    def gone(device, code):
        raise AttributeError("no such function")

    monkeypatch.setattr(native, "create_trusted_module", gone)
    with WebGPUBackend(checked=False) as backend:
        assert backend.device.checked
    assert "using checked ones" in caplog.text


def test_checked_modules_are_used_where_the_private_interface_misbehaves(webgpu, monkeypatch, caplog):
    inner = native.create_trusted_module
    wrong = lambda device, code: inner(device, code.replace("sum +=", "sum -="))  # noqa: E731
    monkeypatch.setattr(native, "create_trusted_module", wrong)
    with WebGPUBackend(checked=False) as backend:
        assert backend.device.checked
    assert "wrong results" in caplog.text


def test_a_device_that_computes_wrongly_is_not_used(webgpu, monkeypatch):
    monkeypatch.setattr(selftest, "SHADER", selftest.SHADER.replace("sum +=", "sum -="))
    with pytest.raises(DeviceError, match="computes a known sum wrongly"):
        WebGPUBackend()


def test_a_second_device_beside_the_first(webgpu):
    with WebGPUBackend() as other:
        a, b = webgpu.array(np.ones(4, np.float32)), other.array(np.full(4, 2, np.float32))
        webgpu.run(OPS["add"], a, a_plus := webgpu.array(np.ones(4, np.float32)), n=4, period=4)
        other.run(OPS["add"], b, other.array(np.ones(4, np.float32)), n=4, period=4)
        assert (webgpu.read(a, (4,)) == 2).all() and (other.read(b, (4,)) == 3).all() and a_plus is not None


TYPES = ["char[]", "WGPUBufferDescriptor *", "WGPUChainedStruct * ", "uint32_t[]", "WGPUBindGroupEntry[]", "size_t"]


@pytest.mark.parametrize("name", [*TYPES, "void(WGPUDevice const *, WGPUErrorType, WGPUStringView, void *, void *)"])
def test_types_read_quickly_are_the_same(webgpu, name):
    from wgpu.backends.wgpu_native._ffi import ffi

    parser = ffi._parser
    quick = vars(parser)["_parse"]
    declarations = parser._declarations
    try:
        del parser._parse
        slow = parser.parse_type(name)
    finally:
        parser._parse = quick
    assert parser.parse_type(name) == slow and parser._declarations is declarations


def test_a_type_that_does_not_exist_is_still_refused(webgpu):
    import cffi
    from wgpu.backends.wgpu_native._ffi import ffi

    with pytest.raises((cffi.CDefError, cffi.FFIError)):
        ffi.typeof("WGPUNoSuchThing *")


def test_another_cffi_stays_as_it_is(webgpu, monkeypatch):
    from wgpu.backends.wgpu_native import _ffi

    strange = SimpleNamespace(_parser=SimpleNamespace(_parse=None, _declarations={}))
    monkeypatch.setattr(_ffi, "ffi", strange)
    native.quicken_types()
    assert strange._parser._parse is None
