"""SamplingParams: how tokens are picked and when a generation ends. Every field is checked when it is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wgpu_infer.checks import number, shown, whole
from wgpu_infer.errors import ParameterError

MAX_SEED = 2**64 - 1
MAX_STOPS = 64
MAX_STOP_LENGTH = 4096
MAX_BIASES = 1 << 16
RANGES = {  # name -> (lowest, highest, whether the lowest itself is refused)
    "temperature": (0, 100, False),
    "top_p": (0, 1, True),
    "min_p": (0, 1, False),
    "repeat_penalty": (0.01, 100, False),
    "presence_penalty": (-100, 100, False),
    "frequency_penalty": (-100, 100, False),
}


@dataclass(frozen=True)
class SamplingParams:
    """Defaults are llama.cpp's: temperature 0.8, top-k 40, top-p 0.95, min-p 0.05.

    max_tokens: at most so many tokens are generated; None: until the context is full. 0 only reads the prompt.
    temperature: 0 is greedy. top_k: 0 keeps all. top_p: 1 keeps all. min_p: 0 keeps all.
    repeat_penalty: divides positive and multiplies negative logits of the last 64 tokens; 1 does nothing.
    presence_penalty, frequency_penalty: subtracted once, and once per occurrence, over the same 64 tokens.
    logit_bias: token id -> added to its logit, -100 to 100. seed: 0 to 2⁶⁴-1; None draws one, which the result reports.
    stop: strings that end the text; they may span tokens and are not part of it. ignore_eos: end-of-text is a token
    like any other. Raises ParameterError.
    """

    max_tokens: int | None = None
    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None
    stop: Sequence[str] = ()
    ignore_eos: bool = False

    def __post_init__(self) -> None:
        if self.max_tokens is not None:
            self._set("max_tokens", whole("max_tokens", self.max_tokens, 0, 1 << 31))
        if self.seed is not None:
            self._set("seed", whole("seed", self.seed, 0, MAX_SEED))
        self._set("top_k", whole("top_k", self.top_k, 0, 1 << 31))
        for name, (low, high, above) in RANGES.items():
            self._set(name, number(name, getattr(self, name), low, high, above))
        if not isinstance(self.ignore_eos, bool):
            raise ParameterError(f"ignore_eos={self.ignore_eos!r:.60} must be True or False")
        self._set("stop", _stops(self.stop))
        self._set("logit_bias", _biases(self.logit_bias))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)  # the class is frozen for its users


def _stops(stop: Any) -> tuple[str, ...]:
    stops = (stop,) if isinstance(stop, str) else stop
    if not isinstance(stops, Sequence) or not all(isinstance(s, str) for s in stops):
        raise ParameterError(f"stop={shown(stop)} must be a string or a list of strings")
    if any(not 0 < len(s) <= MAX_STOP_LENGTH for s in stops) or len(stops) > MAX_STOPS:
        raise ParameterError(f"stop takes at most {MAX_STOPS} strings of 1 to {MAX_STOP_LENGTH} characters")
    return tuple(stops)


def _biases(biases: Any) -> dict[int, float]:
    if not isinstance(biases, Mapping) or len(biases) > MAX_BIASES:
        raise ParameterError(f"logit_bias must map at most {MAX_BIASES} token ids to numbers")
    return {
        whole("logit_bias token", token, 0, 1 << 31): number(f"logit_bias[{token}]", bias, -100, 100)
        for token, bias in biases.items()
    }
