"""What a model file holds, in words: metadata, tensors, formats, and whether it can be run."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from wgpu_infer.errors import WgpuInferError
from wgpu_infer.formats import quants
from wgpu_infer.formats.gguf import GGUF
from wgpu_infer.models.config import ModelConfig
from wgpu_infer.terminal import plain

SHOWN = 60  # characters of a value


def summarise(path: str, tensors: bool) -> dict[str, Any]:
    """JSON-like facts about a GGUF file of any architecture. Raises ModelFormatError or OSError."""
    with GGUF.open(path) as gguf:
        found: dict[str, Any] = {
            "file": gguf.path,
            "version": gguf.version,
            "bytes": sum(t.nbytes for t in gguf.tensors.values()),
            "parameters": sum(int(np.prod(t.shape)) for t in gguf.tensors.values()),
            "formats": dict(Counter(t.format for t in gguf.tensors.values())),
            "runs": runs(gguf),
            "metadata": {key: brief(value) for key, value in gguf.metadata.items()},
        }
        if tensors:
            found["tensors"] = [
                {"name": t.name, "shape": list(t.shape), "format": t.format, "offset": t.offset, "bytes": t.nbytes}
                for t in gguf.tensors.values()
            ]
        return found


def runs(gguf: GGUF) -> str:
    """ "yes", or why the file is not one we can run."""
    try:
        ModelConfig.from_gguf(gguf)
    except WgpuInferError as error:
        return f"no: {getattr(error, 'reason', error)}"
    unknown = {t.format for t in gguf.tensors.values()} - set(quants.FORMATS)
    return f"no: weights in {', '.join(sorted(unknown))}" if unknown else "yes"


def brief(value: Any) -> Any:
    """A value as it can be shown: long arrays by their length and first elements."""
    if isinstance(value, np.ndarray | list):
        head = [x.item() if isinstance(x, np.generic) else x for x in value[:4]]
        kind = value.dtype.name if isinstance(value, np.ndarray) else "string"
        return head if len(value) <= 4 else f"{len(value)} x {kind}: {head}…"
    return value


def render(found: dict[str, Any]) -> str:
    lines = [
        f"{found['file']}: GGUF v{found['version']}, {found['parameters']:,} parameters, {found['bytes']:,} bytes",
        f"runs: {found['runs']}",
        "formats: " + ", ".join(f"{count} {name}" for name, count in found["formats"].items()),
        "",
        *(f"{plain(key)} = {shorten(value)}" for key, value in found["metadata"].items()),
    ]
    if found.get("tensors"):
        lines.append("")
        names = [plain(t["name"]) for t in found["tensors"]]
        width = max(map(len, names))
        lines += [
            f"{name:<{width}}  {t['format']:<7} {'x'.join(map(str, t['shape'])):<16} {t['bytes']:>13,} bytes"
            for name, t in zip(names, found["tensors"], strict=True)
        ]
    return "\n".join(lines)


def shorten(value: Any) -> str:
    text = plain(str(value))
    return text if len(text) <= SHOWN or not isinstance(value, str) else text[:SHOWN] + "…"
