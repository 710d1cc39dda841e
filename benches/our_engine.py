"""Our side of a comparison: a workload through wgpu_infer.LLM as its users run it, timed from outside.

The clock is the caller's, between pieces of the public stream: prefill lasts from the request to the first token of the
last sequence, decoding from there to the end. So the schedule, sampling, detokenising and the way between the threads
all count (`Generation.timings` would leave out all but the model and the sampler); loading and warm-up do not.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from benches.cpu_targets import Workload
from wgpu_infer import LLM, SamplingParams

Prompts = list[list[int]]


@dataclass(frozen=True)
class Timing:
    """Seconds of the phase that was asked for, and the ids that each sequence got in it, in `tokens`."""

    seconds: float
    tokens: list[list[int]]


def make_prompts(work: Workload, vocab: int) -> Prompts:
    """Ids without meaning, the same for all; a prompt per sequence. Control tokens lie at a vocabulary's ends."""
    ids = np.random.default_rng(0).integers(vocab // 2, vocab * 3 // 4, (work.sequences, work.prompt))
    return [[int(token) for token in prompt] for prompt in ids]


def run_ours(llm: LLM, work: Workload, prompts: Prompts, steps: int) -> Timing:
    """Greedy, past any end-of-text. A decode runs `steps` steps after the token that ends the prefill."""
    prefill, decode = time_phases(llm, prompts, steps if work.phase == "decode" else 0)
    return prefill if work.phase == "prefill" else decode


def time_phases(llm: LLM, prompts: Prompts, steps: int) -> tuple[Timing, Timing]:
    """Prefill with the first token, and the steps after it."""
    params = SamplingParams(max_tokens=steps + 1, temperature=0.0, ignore_eos=True)
    begun = time.perf_counter()
    streams = [llm.stream(prompt, params) for prompt in prompts]
    first = [[next(stream).token_id or 0] for stream in streams]
    answered = time.perf_counter()
    rest = [[piece.token_id or 0 for piece in stream] for stream in streams]
    ended = time.perf_counter()
    if any(len(ids) != steps for ids in rest):
        raise RuntimeError(f"sequences ended after {[len(ids) for ids in rest]} steps, {steps} were asked for")
    # Where prompts are short, a sequence may decode before the last one is prefilled: its time counts all the same.
    in_engine = max(stream.result.timings.decode_s for stream in streams)
    return Timing(answered - begun, first), Timing(max(ended - answered, in_engine), rest)


def weight_bytes(llm: LLM) -> int:
    """Bytes of the file's weights that one decode step reads: all but the embedding, unless it is the output too."""
    tensors = llm.gguf.tensors
    skipped = {"token_embd.weight"} if "output.weight" in tensors else set()
    return sum(tensor.nbytes for name, tensor in tensors.items() if name not in skipped)
