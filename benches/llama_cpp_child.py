"""llama.cpp's side of a comparison, run as a process of its own by llama_cpp_peer.py.

    python benches/llama_cpp_child.py                 prints its version and system_info as JSON
    python benches/llama_cpp_child.py MODEL.gguf      then answers one JSON request a line with one JSON line

Uses llama.cpp's C functions directly: llama_decode and its greedy sampler in C, with llama.cpp's defaults (mapped file,
weights repacked for the CPU, f16 keys and values, flash attention where it chooses it, batches of 2,048 and 512). In
the timed loop Python does nothing but call them.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, TextIO

import llama_cpp

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout, when run as a script

from tools.llama_cpp_oracle import quieten

CONTEXT_STEP = 256  # llama.cpp rounds a context up to it
Answer = dict[str, Any]


class Session:
    """A model in llama.cpp; `prepare` gives it a workload, which `prefill` and `decode` then run again and again."""

    def __init__(self, path: str):
        quieten()
        options = llama_cpp.llama_model_default_params()
        options.n_gpu_layers = 0
        self.model = llama_cpp.llama_model_load_from_file(os.fsencode(path), options)
        if not self.model:
            raise RuntimeError(f"llama.cpp cannot load {path}")
        self.sampler = llama_cpp.llama_sampler_init_greedy()
        self.context: Any = None
        self.batch: Any = None

    def prepare(self, prompts: list[list[int]], steps: int, threads: int) -> Answer:
        """A fresh context for these prompts (ids) and `steps` decode steps after them."""
        self.release()
        self.prompts, self.steps = prompts, steps
        self.last: list[int] = []  # the token after each prompt, once there is one
        longest = max(map(len, prompts)) + steps + 1
        options = llama_cpp.llama_context_default_params()
        options.n_ctx = len(prompts) * -(-longest // CONTEXT_STEP) * CONTEXT_STEP
        options.n_seq_max = len(prompts)
        options.n_threads = options.n_threads_batch = threads
        self.context = llama_cpp.llama_init_from_model(self.model, options)
        if not self.context:
            raise RuntimeError(f"llama.cpp cannot make a context of {options.n_ctx} tokens")
        self.memory = llama_cpp.llama_get_memory(self.context)
        self.batch = llama_cpp.llama_batch_init(sum(map(len, prompts)), 0, 1)
        return {}

    def prefill(self) -> Answer:
        """All prompts in one batch, and a token for each sequence."""
        llama_cpp.llama_memory_clear(self.memory, False)
        rows = [(i, token, at) for i, prompt in enumerate(self.prompts) for at, token in enumerate(prompt)]
        outputs = []
        for row, (sequence, token, position) in enumerate(rows):
            is_last = position == len(self.prompts[sequence]) - 1
            self.fill(row, token, sequence, position, is_last)
            outputs += [row] if is_last else []
        self.batch.n_tokens = len(rows)
        begun = time.perf_counter()
        self.last = self.step(outputs)
        return {"seconds": time.perf_counter() - begun, "tokens": [[token] for token in self.last]}

    def decode(self) -> Answer:
        """`steps` steps of every sequence, from the same keys and values each time."""
        self.rewind()
        starts = [len(prompt) for prompt in self.prompts]
        found: list[list[int]] = []
        tokens, outputs = self.last, list(range(len(starts)))
        for i in outputs:
            self.fill(i, tokens[i], i, starts[i], True)
        self.batch.n_tokens = len(outputs)
        begun = time.perf_counter()
        for step in range(self.steps):
            for i in outputs:
                self.batch.token[i], self.batch.pos[i] = tokens[i], starts[i] + step
            tokens = self.step(outputs)
            found.append(tokens)
        return {"seconds": time.perf_counter() - begun, "tokens": [list(ids) for ids in zip(*found, strict=True)]}

    def rewind(self) -> None:
        """The cache as the prompts left it."""
        if not self.last:
            self.prefill()
        for sequence, prompt in enumerate(self.prompts):
            if not llama_cpp.llama_memory_seq_rm(self.memory, sequence, len(prompt), -1):
                raise RuntimeError("this model's memory cannot be cut back to its prompt")

    def fill(self, row: int, token: int, sequence: int, position: int, wanted: bool) -> None:
        self.batch.token[row], self.batch.pos[row] = token, position
        self.batch.n_seq_id[row], self.batch.seq_id[row][0] = 1, sequence
        self.batch.logits[row] = wanted

    def step(self, outputs: list[int]) -> list[int]:
        """Runs the batch and picks a token at each of its output rows."""
        if status := llama_cpp.llama_decode(self.context, self.batch):
            raise RuntimeError(f"llama_decode failed with {status}")
        return [llama_cpp.llama_sampler_sample(self.sampler, self.context, row) for row in outputs]

    def release(self) -> None:
        if self.context:
            llama_cpp.llama_free(self.context)
            llama_cpp.llama_batch_free(self.batch)
        self.context = self.batch = None


def info() -> Answer:
    quieten()
    return {"version": llama_cpp.__version__, "system_info": llama_cpp.llama_print_system_info().decode()}


def serve(path: str, answers: TextIO) -> None:
    """Answers requests until standard input ends; the first line says that the model is loaded."""
    session = Session(path)
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        answer = getattr(session, request.pop("do"))(**request)
        print(json.dumps(answer), file=answers, flush=True)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever llama.cpp prints goes to standard error
    if len(sys.argv) > 1:
        serve(sys.argv[1], answers)
    else:
        print(json.dumps(info()), file=answers, flush=True)


if __name__ == "__main__":
    main()
