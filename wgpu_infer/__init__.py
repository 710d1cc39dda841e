"""LLM inference and GPU compute in Python on WebGPU.

The names below are the public API. They are imported when first used, so `import wgpu_infer` itself stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from wgpu_infer.errors import (
    ChatTemplateError,
    ContextLengthError,
    DeviceError,
    ModelFormatError,
    OutOfMemoryError,
    ParameterError,
    TokenizerError,
    UnsupportedError,
    WgpuInferError,
)

if TYPE_CHECKING:
    from wgpu_infer import ops
    from wgpu_infer.backends.webgpu.compute import Device
    from wgpu_infer.llm import LLM, Generation
    from wgpu_infer.models.verify import VerifyReport
    from wgpu_infer.profile import Profile
    from wgpu_infer.sampling.params import SamplingParams
    from wgpu_infer.scheduler import HybridScheduler
    from wgpu_infer.tokenizer.tokenizer import Tokenizer

__version__ = "0.1.0"

_LAZY = {
    "LLM": "wgpu_infer.llm",
    "Generation": "wgpu_infer.llm",
    "SamplingParams": "wgpu_infer.sampling.params",
    "Tokenizer": "wgpu_infer.tokenizer.tokenizer",
    "Device": "wgpu_infer.backends.webgpu.compute",
    "HybridScheduler": "wgpu_infer.scheduler",
    "Profile": "wgpu_infer.profile",
    "VerifyReport": "wgpu_infer.models.verify",
}
_LAZY_MODULES = {"ops": "wgpu_infer.ops"}

__all__ = [
    "LLM",
    "ChatTemplateError",
    "ContextLengthError",
    "Device",
    "DeviceError",
    "Generation",
    "HybridScheduler",
    "ModelFormatError",
    "OutOfMemoryError",
    "ParameterError",
    "Profile",
    "SamplingParams",
    "Tokenizer",
    "TokenizerError",
    "UnsupportedError",
    "VerifyReport",
    "WgpuInferError",
    "ops",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY_MODULES:
        return importlib.import_module(_LAZY_MODULES[name])
    if name not in _LAZY:
        raise AttributeError(f"module 'wgpu_infer' has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]  # so that names not imported yet are completed too
