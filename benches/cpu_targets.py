"""What the CPU path is measured on and held to: models, rows, ratios to llama.cpp, and the rule for a busy host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Phase = Literal["prefill", "decode"]


@dataclass(frozen=True)
class Workload:
    """`prompt` tokens in each of `sequences` sequences; timed are those, or the tokens that are decoded after them."""

    phase: Phase
    prompt: int
    sequences: int = 1
    goal: str = ""  # its column in TARGETS


ROWS: dict[str, Workload] = {
    "decode-0": Workload("decode", 1, goal="decode"),
    "decode-1024": Workload("decode", 1024, goal="decode"),
    "prefill-128": Workload("prefill", 128, goal="prefill"),
    "prefill-512": Workload("prefill", 512),
    "batch-8": Workload("decode", 1, sequences=8, goal="batch"),
}

# shape:format -> goal -> least ratio to llama.cpp with 1 and with 2 threads
TARGETS: dict[str, dict[str, tuple[float, float]]] = {
    "tinyllama-1.1b:Q4_0": {"decode": (1.35, 1.45), "prefill": (2.0, 2.0), "batch": (1.5, 1.5)},
    "tinyllama-1.1b:Q4_K_M": {"decode": (1.1, 1.3), "prefill": (1.8, 1.8)},
    "tinyllama-1.1b:Q8_0": {"decode": (1.3, 1.5), "prefill": (1.8, 1.8)},
    "llama-3.2-1b:Q5_K_M": {"decode": (1.2, 1.2), "prefill": (1.6, 1.6)},
    "llama-3.2-1b:Q6_K": {"decode": (1.2, 1.2), "prefill": (1.6, 1.6)},
}

# A two-thread decode row also holds where its weights pass at this share of the memory's read rate:
# (read rates above so many GB/s, least share), the first that fits.
SHARES = ((60.0, 0.70), (0.0, 0.85))


def target_of(model: str, row: str, threads: int) -> float | None:
    """The ratio asked for, None where none is."""
    ratios = TARGETS.get(model, {}).get(ROWS[row].goal, ())
    return ratios[threads - 1] if threads <= len(ratios) else None


def is_judged_by_share(row: str, threads: int) -> bool:
    return ROWS[row].goal == "decode" and threads == 2


def least_share(read_rate: float) -> float:
    return next(share for above, share in SHARES if read_rate > above)


def judge(row: str, threads: int, target: float | None, ratio: float, share: float | None, read_rate: float) -> str:
    """PASS, PASS by share, short, or nothing where nothing is asked."""
    if target is None:
        return ""
    if ratio >= target:
        return "PASS"
    if is_judged_by_share(row, threads) and share is not None and share >= least_share(read_rate):
        return "PASS by share"
    return "short"
