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
from collections.abc import Mapping
from pathlib import Path

ADVANTAGE = 1.1  # how much faster a narrower variant must be: clocks are noisy
PATIENCE_S = 30.0  # for one child; a first start compiles for two seconds
COMPARED = 2  # the widest and the one after it; narrower ones have nothing that these lack
STEPS, ROUNDS = 1 << 16, 20


def fastest(candidates: list[str], identity: str, folder: Path) -> str:
    """The one of `candidates` (widest first) to use; identity says for which CPU and versions an answer counts."""
    candidates = candidates[:COMPARED]
    if len(candidates) < 2:
        return candidates[0]
    digest = hashlib.sha256("|".join([identity, *candidates]).encode()).hexdigest()[:16]
    path = folder / f"variant-{digest}.json"
    known = read_choice(path, candidates)
    if known is not None:
        return known
    rates = {name: measure_in_child(name) for name in candidates}
    if not all(rates.values()):  # measured again next time
        return candidates[0]
    with contextlib.suppress(OSError):
        keep(path, choose(rates))
    return choose(rates)


def choose(rates: Mapping[str, float]) -> str:
    """The first, unless a later one is clearly faster."""
    best, *others = rates
    for name in others:
        if rates[name] > ADVANTAGE * rates[best]:
            best = name
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
    """Products per second of a variant; 0 where its process failed, or Python cannot be started again."""
    if not sys.executable or getattr(sys, "frozen", False):
        return 0.0
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
    import numba
    import numpy as np

    from cpu_fallback.byte_dots import dot
    from cpu_fallback.simd import load_u8, load_word, splat_i32, sum_i32

    @numba.njit(nogil=True)
    def products(w, x, steps):
        """Eight sums side by side, as in a tile of a prompt: two vectors of weights by four words of tokens."""
        a = b = c = d = e = f = g = h = splat_i32(0)
        for step in range(steps):
            at = step % 64
            v, u = load_u8(w, 64 * at), load_u8(w, 64 * (at + 64))
            x0, x1 = load_word(x, 16 * at), load_word(x, 16 * at + 4)
            x2, x3 = load_word(x, 16 * at + 8), load_word(x, 16 * at + 12)
            a, b, c, d = dot(a, v, x0), dot(b, v, x1), dot(c, v, x2), dot(d, v, x3)
            e, f, g, h = dot(e, u, x0), dot(f, u, x1), dot(g, u, x2), dot(h, u, x3)
        return sum_i32(a + b + c + d + e + f + g + h)

    w, x = np.ones(64 * 128, np.uint8), np.ones(1024, np.int8)
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        products(w, x, STEPS)
        best = min(best, time.perf_counter() - start)
    return STEPS * 8 * 64 / best


if __name__ == "__main__":
    print(measure())
