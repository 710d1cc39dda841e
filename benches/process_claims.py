"""Claims about whole processes: memory that kernels take, and how fast the command line starts.

Memory is what is resident at most in a child (this file, run with a name of CHILDREN) beyond what was before the work,
when operands were in memory and kernels had run once. Only Linux says that.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout, when run as a script

from benches.claim import Finding, Findings
from benches.claim_cases import attention_case, backend_of, product_case
from benches.cpu_memory import MB, peak_bytes
from benches.op_calls import op_call, upload
from wgpu_infer.backends.cpu import CPUBackend
from wgpu_infer.contracts.table import OPS

ROOT = Path(__file__).resolve().parent.parent
GENERATE = ("-m", "wgpu_infer.generate", "Once", "--device", "cpu", "--max-tokens", "1")
LATER_STARTS = 3


def matmul_memory() -> Findings:
    """The packed weight, the activations and the result are counted, the file's bytes are not."""
    sizes = in_child("matmul")
    what = "memory ÷ weights: packing + matmul_act8, 8192² Q4_0, 128 tokens"
    detail = f"{sizes['growth'] / MB:.1f} MB, the file has {sizes['weights'] / MB:.1f} MB"
    yield Finding(what, sizes["growth"] / sizes["weights"], "≤", 2.0, "x", detail, sizes)


def attention_memory() -> Findings:
    """The threads' scratch is counted; queries, keys, values and the result are not."""
    sizes = in_child("attention")
    yield Finding("working memory: attention of 4,096 tokens", sizes["growth"] / MB, "<", 100, "MB", each=sizes)


def in_child(name: str) -> dict[str, int]:
    environ = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}  # else glibc's heap keeps large blocks that were freed
    command = [sys.executable, __file__, name]
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, check=True)
    sizes: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return sizes


def matmul_child() -> dict[str, int]:
    def work(rows: int, cols: int) -> Callable[[], None]:
        case = product_case(rows, cols, tokens=128)
        return lambda: op_call(backend_of(2), OPS["matmul_act8"], case).run()

    work(2048, 4096)()
    whole = work(8192, 8192)
    return {"weights": 8192 * 8192 // 32 * 18, "growth": peak_growth(whole)}


def attention_child() -> dict[str, int]:
    def work(tokens: int) -> Callable[[], None]:
        backend, case = backend_of(2), attention_case(tokens, tokens, kv_heads=4)
        operands = [upload(backend, value) for value in case.operands.values()]
        out = backend.array(np.ones((tokens, 32, 64), np.float32))
        return lambda: CPUBackend(2).run(OPS["attention"], *operands, out, **case.params)

    work(256)()
    return {"growth": peak_growth(work(4096))}


CHILDREN = {"matmul": matmul_child, "attention": attention_child}


def peak_growth(work: Callable[[], Any]) -> int:
    """Bytes that are resident at most while `work` runs, beyond those before."""
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    before = peak_bytes()
    work()
    return peak_bytes() - before


def start_up() -> Findings:
    """The command line with the embedded model, from start to end, with a kernel cache that is empty at first."""
    with tempfile.TemporaryDirectory() as folder:
        first, *later = (seconds_to_generate(folder) for _ in range(1 + LATER_STARTS))
    yield Finding("first-ever start, one token of the embedded model", first, "≤", 20, "s", each=first)
    yield Finding("later starts", statistics.median(later), "≤", 2, "s", each=later)


def seconds_to_generate(cache: str) -> float:
    environ = os.environ | {"NUMBA_CACHE_DIR": cache}
    begun = time.perf_counter()
    subprocess.run([sys.executable, *GENERATE], cwd=ROOT, env=environ, capture_output=True, check=True)
    return time.perf_counter() - begun


CLAIMS: dict[str, Callable[[], Findings]] = {
    "matmul-memory": matmul_memory,
    "attention-memory": attention_memory,
    "start-up": start_up,
}

if __name__ == "__main__":
    print(json.dumps(CHILDREN[sys.argv[1]]()))
