"""What the report of a GPU is held to, and the models that it measures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

MODELS = ("tinyllama-1.1b:Q4_0", "tinyllama-1.1b:Q4_K_M", "qwen2.5-coder-1.5b:Q4_K_M", "phi-2:Q4_K_M")
QUICK_MODELS = ("tiny-llama:Q4_0",)
# what -> (model or None for the highest of all, figure of a model's section, comparison, limit, unit)
TARGETS: dict[str, tuple[str | None, str, str, float, str]] = {
    "decode of tinyllama-1.1b Q4_0": ("tinyllama-1.1b:Q4_0", "decode_tok_s", ">=", 230, "tok/s"),
    "decode of tinyllama-1.1b Q4_K_M": ("tinyllama-1.1b:Q4_K_M", "decode_tok_s", ">=", 230, "tok/s"),
    "prefill(512) of tinyllama-1.1b Q4_0": ("tinyllama-1.1b:Q4_0", "prefill_tok_s", ">=", 5000, "tok/s"),
    "prefill(512) of tinyllama-1.1b Q4_K_M": ("tinyllama-1.1b:Q4_K_M", "prefill_tok_s", ">=", 5000, "tok/s"),
    "fused dequantising matvec, the best": (None, "matvec_gb_s", ">=", 500, "GB/s"),
    "matmul, the best": (None, "matmul_tflop_s", ">=", 12, "TFLOP/s"),
    "a layer of a decode step, the longest": (None, "layer_ms", "<", 1, "ms"),
    "GPU busy in decoding tinyllama-1.1b Q4_0": ("tinyllama-1.1b:Q4_0", "busy", ">=", 0.8, ""),
    "dispatches per layer, the most": (None, "layer_dispatches", "<=", 10, ""),
}
Sections = Mapping[str, Mapping[str, Any]]
HOLDS = {">=": float.__ge__, "<": float.__lt__, "<=": float.__le__}


def judge(sections: Sections) -> list[dict[str, Any]]:
    """Every target with its figure, and whether it holds, is short, or was not measured."""
    return [verdict(what, *target, sections) for what, target in TARGETS.items()]


def verdict(
    what: str, model: str | None, name: str, sign: str, limit: float, unit: str, sections: Sections
) -> dict[str, Any]:
    figure = max(figures_of(sections, model, name), default=None)
    fate = "not measured" if figure is None else "holds" if HOLDS[sign](float(figure), float(limit)) else "short"
    return {"target": what, "wanted": f"{sign} {limit:g} {unit}".strip(), "figure": figure, "verdict": fate}


def figures_of(sections: Sections, model: str | None, name: str) -> Iterable[float]:
    for section, found in sections.items():
        wanted = section == f"model {model}" if model else section.startswith("model ")
        if wanted and isinstance(found.get(name), int | float):
            yield found[name]
