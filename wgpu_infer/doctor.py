"""wgpu-infer doctor: what this machine has, what would be used, and what each missing thing costs."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from wgpu_infer.backends.base import Backend
from wgpu_infer.backends.registry import open_backend
from wgpu_infer.errors import DeviceError, WgpuInferError
from wgpu_infer.kept import cache_dir

PACKAGES = ("wgpu-infer", "wgpu", "numba", "llvmlite", "numpy", "tokenizers")
FEATURES = {  # what a missing feature costs
    "immediates": "required: without it this adapter cannot be used",
    "subgroup": "reductions go through workgroup memory: slower matvec and norms",
    "shader-f16": "what kernels stage in workgroup memory is float32: less of it fits",
    "timestamp-query": "no GPU timings per kernel",
}
CAPABILITIES = {  # what the shaders do without, by adapter or by choice
    "subgroups": "reductions go through workgroup memory",
    "f16": "what kernels stage in workgroup memory is float32: less of it fits",
    "packed_dot": "activations stay float32: quantised products are slower",
}
LIMITS = {  # name -> (wanted, what a smaller one costs)
    "max-storage-buffer-binding-size": (1 << 30, "larger weights are split by rows: more dispatches"),
    "max-buffer-size": (1 << 30, "larger weights are split by rows: more dispatches"),
    "max-compute-workgroup-storage-size": (16384, "required by the matmul tile"),
    "max-compute-invocations-per-workgroup": (256, "required by the largest workgroups"),
    "max-immediate-size": (64, "required by every shader"),
    "max-compute-workgroups-per-dimension": (65535, "required by long prompts"),
    "max-storage-buffers-per-shader-stage": (8, "required by attention"),
}


def examine() -> dict[str, Any]:
    """JSON-like facts. Never raises for something that is missing: that is a finding."""
    adapters, problem = examine_adapters()
    return {
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "packages": {name: installed(name) for name in PACKAGES},
        "cpu": examine_backend("cpu"),
        "adapters": adapters,
        "webgpu": {"works": False, "why": problem} if problem else examine_backend("webgpu"),
        "caches": caches(),
    }


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def caches() -> dict[str, str]:
    """Where measurements and compiled kernels are kept."""
    kept = {"measurements": str(cache_dir() or "none: there is no home folder")}
    try:
        from cpu_fallback import kernel_cache

        kept["compiled CPU kernels"] = str(kernel_cache.folder())
    except (ImportError, ValueError) as error:  # ValueError: WGPU_INFER_CPU names no variant
        kept["compiled CPU kernels"] = f"none: {error}"
    return kept


def examine_adapters() -> tuple[list[dict[str, Any]], str | None]:
    """All adapters in the order of their numbers, and why none of them is used if that is so."""
    from wgpu_infer.backends.webgpu.adapters import find_adapter, list_adapters

    try:
        found = list_adapters()
    except DeviceError as error:
        return [], str(error)
    try:
        chosen, problem = find_adapter(None, found), None
    except DeviceError as error:
        chosen, problem = None, str(error)
    return [examine_adapter(i, a) | {"chosen": a is chosen} for i, a in enumerate(found)], problem


def examine_adapter(number: int, adapter: Any) -> dict[str, Any]:
    limits = dict(adapter.handle.limits)
    return {
        "number": number,
        "adapter": adapter.summary(),
        **{name: getattr(adapter, name) for name in ("name", "kind", "api", "driver", "usable")},
        "features": [name for name in FEATURES if name in adapter.features],
        "missing": {name: cost for name, cost in FEATURES.items() if name not in adapter.features},
        "limits": {name: limits.get(name) for name in LIMITS},
        "small": {name: cost for name, (wanted, cost) in LIMITS.items() if (limits.get(name) or 0) < wanted},
    }


def examine_backend(name: str) -> dict[str, Any]:
    """Opens it, runs one op, and says what it is; or why it does not work."""
    try:
        with open_backend(name) as backend:
            self_test(backend)
            found = {"works": True, "device": backend.describe(), "software": backend.is_software}
            return found | examine_kernels(backend)
    except (WgpuInferError, ImportError) as error:  # also a setting of the environment that is not allowed
        return {"works": False, "why": str(error)}


def examine_kernels(backend: Backend) -> dict[str, Any]:
    """What the WebGPU backend makes of its device; nothing of other backends."""
    caps, choices = getattr(backend, "caps", None), getattr(backend, "choices", None)
    if caps is None or choices is None:
        return {}
    wanted = {name: cost for name, cost in CAPABILITIES.items() if not getattr(caps, name)}
    replayed = not getattr(backend, "eager", False)
    kernels = {"tuned": len(choices.known), "replayed": replayed, "rates": getattr(backend, "rates", {})}
    return {"capabilities": vars(caps), "unused": wanted, **kernels}


def self_test(backend: Backend) -> None:
    """3 + 4 on the device."""
    import numpy as np

    from wgpu_infer.contracts.table import OPS

    x, y = backend.array(np.full(64, 3, np.float32)), backend.array(np.full(64, 4, np.float32))
    backend.run(OPS["add"], x, y, n=64, period=64)
    if not (backend.read(x, (64,)) == 7).all():
        raise DeviceError(f"{backend.describe()} computes 3 + 4 wrongly; do not use it")


def render(found: dict[str, Any]) -> str:
    lines = [found["system"], ", ".join(f"{k} {v}" for k, v in found["packages"].items()), ""]
    lines += ["CPU: " + backend_line(found["cpu"])]
    lines += ["WebGPU: " + backend_line(found["webgpu"]), *kernel_lines(found["webgpu"]), ""]
    lines += [line for adapter in found["adapters"] for line in adapter_lines(adapter)]
    lines += ["", f"--device auto: {auto_line(found)}"]
    lines += [f"{what}: {where}" for what, where in found["caches"].items()]
    return "\n".join(lines)


def adapter_lines(adapter: dict[str, Any]) -> list[str]:
    """What one adapter has, and what each thing it lacks costs."""
    fate = "" if adapter["usable"] else ": cannot be used"
    lines = [f"adapter {adapter['number']}: {adapter['adapter']}{', the one used' * adapter['chosen']}{fate}"]
    lines.append(f"  has {', '.join(adapter['features']) or 'none of the features that are used'}")
    lines += [f"  lacks {name}: {cost}" for name, cost in adapter["missing"].items()]
    for name, value in adapter["limits"].items():
        cost = f": {adapter['small'][name]}" if name in adapter["small"] else ""
        lines.append(f"  {name} {'unknown' if value is None else format(value, ',')}{cost}")
    return lines


def kernel_lines(backend: dict[str, Any]) -> list[str]:
    if "capabilities" not in backend:
        return []
    lines = [f"  without {name}: {cost}" for name, cost in backend["unused"].items()]
    if not backend["replayed"]:
        lines.append("  recorded steps are issued through wgpu-py's public API: some milliseconds of CPU time a token")
    tuned = backend["tuned"]
    lines.append(f"  kernels chosen by measurement: {tuned}{'' if tuned else ' (wgpu-infer tune chooses them)'}")
    rates = [f"{op} {rate / 1e9:.3g} GFLOP/s" for op, rate in backend["rates"].items()]
    return [*lines, f"  submissions of at most 0.25 s at the measured pace: {', '.join(rates) or 'not measured yet'}"]


def backend_line(backend: dict[str, Any]) -> str:
    return backend["device"] if backend["works"] else f"not used: {backend['why']}"


def auto_line(found: dict[str, Any]) -> str:
    """What auto does on this machine, and why a GPU is not used where it is not."""
    gpu, cpu = found["webgpu"], found["cpu"]
    if not gpu["works"] and not cpu["works"]:
        return "reference, which is slow: neither webgpu nor the cpu backend works"
    if not gpu["works"]:
        return f"cpu, since webgpu does not work ({gpu['why']})"
    if not cpu["works"]:
        return f"webgpu, since the cpu backend does not work ({cpu['why']})"
    if gpu["software"]:
        return "cpu; the only adapter is a software one, which runs on the CPU itself (--device webgpu uses it anyway)"
    return "cpu or webgpu, by timing the model's first layer on both when it is loaded"
