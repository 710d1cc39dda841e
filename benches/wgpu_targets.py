"""What the WebGPU path is measured on and held to: its rows, and ratios to llama.cpp on the CPU of the same machine.

The targets are for a software adapter, which runs on that same CPU; a GPU is held to figures of its own (gpu_report).
"""

from __future__ import annotations

from benches.cpu_targets import Workload

ROWS: dict[str, Workload] = {
    "decode-0": Workload("decode", 1, goal="decode"),
    "decode-1024": Workload("decode", 1024),
    "prefill-64": Workload("prefill", 64, goal="prefill"),
    "prefill-512": Workload("prefill", 512),
    "batch-8": Workload("decode", 1, sequences=8),
}
DEFAULT_ROWS = ("decode-0", "prefill-64")
PEER_THREADS = 2

# shape:format -> goal -> least ratio to llama.cpp with two threads
TARGETS: dict[str, dict[str, float]] = {"mini:Q4_0": {"decode": 0.12, "prefill": 0.03}}
MOST_DISPATCHES = 10  # per layer; one more for each further format in a group of merged weights


def target_of(model: str, row: str) -> float | None:
    """The ratio asked for, None where none is."""
    return TARGETS.get(model, {}).get(ROWS[row].goal)
