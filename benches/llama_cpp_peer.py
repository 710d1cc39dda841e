"""llama.cpp as a contender: a child process that keeps a model loaded, and whether comparing with it is fair.

A process of its own because llama.cpp and numba share one OpenMP library, which reads once per process how its threads
wait (OMP_WAIT_POLICY). Our kernels ask for passive waiting, and that alone took llama.cpp on two threads from 54 to 32
tokens/s (tinyllama-1.1b Q4_0). The child gets the environment as it was when this module was imported: import it before
the first CPU model is opened. Both sides' threads run in turn, on the same cores; the child's memory goes back to the
system when it ends.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

ENVIRON = dict(os.environ)
CHILD = Path(__file__).with_name("llama_cpp_child.py")
NAME = "llama.cpp"

# llama.cpp's name of a feature in its system_info -> LLVM's: those that our kernels use where the processor has them
FEATURES = {
    "AVX2": "avx2",
    "FMA": "fma",
    "F16C": "f16c",
    "AVX512": "avx512f",
    "AVX512_VNNI": "avx512vnni",
    "AVX_VNNI": "avxvnni",
    "NEON": "neon",
}


def is_installed() -> bool:
    return importlib.util.find_spec("llama_cpp") is not None


def build_info() -> dict[str, str]:
    """`version` of llama-cpp-python and llama.cpp's `system_info`. RuntimeError where it does not start."""
    done = subprocess.run([sys.executable, str(CHILD)], stdout=subprocess.PIPE, text=True, env=ENVIRON, check=False)
    if done.returncode:
        raise RuntimeError(f"llama.cpp does not start here: its process ended with status {done.returncode}")
    info: dict[str, str] = json.loads(done.stdout)
    return info


def host_features() -> set[str]:
    """What LLVM finds this processor able to do, in LLVM's names."""
    from llvmlite import binding

    return {name for name, present in binding.get_host_cpu_features().items() if present}


def missing_features(system_info: str, host: set[str]) -> list[str]:
    """Features in llama.cpp's names that this machine has, our kernels use and this llama.cpp was built without."""
    entries = (entry.rpartition(":")[2].split("=") for entry in system_info.split("|") if "=" in entry)
    built = {name.strip() for name, value in entries if value.strip() == "1"}
    return [name for name, feature in FEATURES.items() if feature in host and name not in built]


class LlamaCppPeer:
    """A model loaded in a llama.cpp process; use it as a context manager. RuntimeError where that process fails."""

    def __init__(self, path: str | os.PathLike[str]):
        self._child = subprocess.Popen(
            [sys.executable, str(CHILD), os.fspath(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=ENVIRON,
        )
        try:
            self._answer("loading")
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._child.pid

    def prepare(self, prompts: list[list[int]], steps: int, threads: int) -> None:
        """What `run` measures next: prompts of ids, one per sequence, and the decode steps after them."""
        self._ask("prepare", prompts=prompts, steps=steps, threads=threads)

    def run(self, phase: str) -> tuple[float, list[list[int]]]:
        """Seconds of a "prefill" or a "decode", and the ids that each sequence got in it."""
        answer = self._ask(phase)
        return answer["seconds"], answer["tokens"]

    def _ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        assert self._child.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the missing answer tells
            self._child.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._child.stdin.flush()
        return self._answer(do)

    def _answer(self, do: str) -> dict[str, Any]:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError(f"the llama.cpp process ended with status {self._child.wait()} at {do}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Ends the process and waits until its memory is free."""
        assert self._child.stdin is not None and self._child.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._child.stdin.close()
        self._child.stdout.close()
        self._child.wait()

    def __enter__(self) -> LlamaCppPeer:
        return self

    def __exit__(self, _type: type | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        self.close()
