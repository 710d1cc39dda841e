"""The variant that is fastest on this machine, measured once, in a child process per candidate, and kept on disk.

Wider is not always faster: some CPUs lower their clock for 512-bit instructions. What is measured is the inner loop of
prompt processing, which keeps the arithmetic units busy; one token at a time waits for memory with any of them.

    python -m cpu_fallback.choose     prints products per second of the variant this process runs
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ADVANTAGE = 1.1  # how much faster a narrower variant must be: clocks are noisy
PATIENCE_S = 30.0  # for one child; a first start compiles for two seconds
COMPARED = 2  # the widest and the one after it; narrower ones have nothing that these lack
ROWS, COLS, TOKENS = 64, 2048, 32
ROUNDS = 30


def fastest(candidates: list[str], identity: str, folder: Path) -> str:
    """The one of `candidates` (widest first) to use; identity says for which CPU and versions an answer counts."""
    candidates = candidates[:COMPARED]
    if len(candidates) < 2:
        return candidates[0]
    digest = hashlib.sha256("|".join([identity, *candidates]).encode()).hexdigest()[:16]
    path = folder / f"variant-{digest}.json"
    known = read_choice(path, candidates)
    if known is None:
        known = choose(candidates, measure_in_child)
        with contextlib.suppress(OSError):  # measured again next time
            keep(path, known)
    return known


def choose(candidates: list[str], measure: Callable[[str], float]) -> str:
    """The first, unless a later one is clearly faster. One that could not be measured has rate 0."""
    best, best_rate = candidates[0], measure(candidates[0])
    for name in candidates[1:]:
        rate = measure(name)
        if rate > ADVANTAGE * best_rate:
            best, best_rate = name, rate
    return best


def read_choice(path: Path, candidates: list[str]) -> str | None:
    try:
        name = json.loads(path.read_text())["variant"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return name if name in candidates else None


def keep(path: Path, name: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    with os.fdopen(handle, "w") as file:
        json.dump({"variant": name}, file)
    os.replace(part, path)


def measure_in_child(name: str) -> float:
    """Products per second of a variant; 0 where its process failed."""
    environ = {**os.environ, "WGPU_INFER_CPU": name, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "cpu_fallback.choose"],
            env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S, check=True,
        )  # fmt: skip
        return float(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return 0.0


def measure() -> float:
    import numpy as np

    from cpu_fallback.jit import SCRATCH
    from cpu_fallback.matmul_act8 import matmul_act8
    from cpu_fallback.pack import packed_zeros

    q4_0 = 2
    x, scales = np.ones((TOKENS, COLS), np.int8), np.ones((TOKENS, COLS // 32), np.float32)
    sums, w = np.full((TOKENS, COLS // 32, 2), 16, np.int16), packed_zeros(q4_0, ROWS, COLS)
    out, scratch = np.zeros((TOKENS, ROWS), np.float32), np.zeros(SCRATCH, np.float32)
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        matmul_act8.twin(q4_0)(x, scales, sums, w, out, TOKENS, ROWS, COLS, 0, ROWS, 0, 1, scratch)
        best = min(best, time.perf_counter() - start)
    return ROWS * COLS * TOKENS / best


if __name__ == "__main__":
    print(measure())
