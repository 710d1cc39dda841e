"""One row per architecture. Sizes come from a file's metadata and presence from its tensors; a field here says only
what the file cannot. Adding a model that fits the transformer is adding a row (CONTRIBUTING.md, "Add a model").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Arch:
    """What a file's metadata does not say about its architecture.

    norm: rms (gain) or layer (gain and bias). rope: which elements form a pair. parallel: attention and feed-forward
    both read the same normed input and are added together. gated: the feed-forward has a gate. activation: of the
    gate, or of the hidden layer. qk_norm: queries and keys are normed per head before rope.
    """

    name: str
    covers: str
    norm: Literal["rms", "layer"] = "rms"
    rope: Literal["interleaved", "half"] = "half"
    parallel: bool = False
    gated: bool = True
    activation: Literal["silu", "gelu", "gelu_tanh", "relu2"] = "silu"
    qk_norm: bool = False

    @property
    def eps_key(self) -> str:
        return {"rms": "attention.layer_norm_rms_epsilon", "layer": "attention.layer_norm_epsilon"}[self.norm]


ARCHS: dict[str, Arch] = {
    row.name: row
    for row in (
        Arch("llama", "Llama 1-3, Mistral, TinyLlama, DeepSeek Coder, SmolLM", rope="interleaved"),
        Arch("qwen2", "Qwen 2, Qwen 2.5, their Coder models"),
        Arch("qwen3", "Qwen 3 (dense)", qk_norm=True),
        Arch("phi2", "Phi-1.5, Phi-2", norm="layer", parallel=True, gated=False, activation="gelu_tanh"),
    )
}
