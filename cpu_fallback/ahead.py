"""Compiles many entries with the help of other processes, which leave them in the kernel cache.

numba compiles under one lock, so threads are no help. Of a list of entries this process takes the first that is left,
each helper the last, and what they have compiled is then read from the cache. Where they cannot be started, fail or
die, this process does everything itself.

    python -m cpu_fallback.ahead      is a helper: jobs come by standard input, a line leaves for each
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from cpu_fallback import kernel_cache, threads, variant
from cpu_fallback.entry import entry_for

FEWEST = 4  # entries for each helper: it takes a second to begin
MOST = 3  # helpers
Job = tuple[Any, tuple]  # a twin, the kinds of its arguments


def compile_all(jobs: Sequence[Job], progress: Callable[[int, int], None]) -> None:
    """Compiles the entries of twins for kinds of arguments, or reads them from the cache; tells how many are ready."""
    queue = deque(sorted(jobs, key=lambda job: len(job[1])))  # more arguments, more to compile: helpers take those
    helpers: list[Helper] = []
    try:
        while queue:
            progress(len(jobs) - len(queue), len(jobs))
            try:
                job = queue.popleft()
            except IndexError:  # a helper was faster
                break
            entry = entry_for(*job)
            if not helpers and not entry.was_cached:
                helpers = start_helpers(queue)
        for helper in helpers:
            helper.thread.join()
    finally:
        for helper in helpers:
            helper.close()
    for job in jobs:
        entry_for(*job)
    progress(len(jobs), len(jobs))


def number_of_helpers(jobs: int) -> int:
    has_python = bool(sys.executable) and not getattr(sys, "frozen", False)
    if not has_python or kernel_cache.folder() is None:
        return 0
    return max(0, min(MOST, len(threads.usable_cpus()) - 1, jobs // FEWEST))


def start_helpers(queue: deque[Job]) -> list[Helper]:
    helpers: list[Helper] = []
    with contextlib.suppress(OSError):
        for _ in range(number_of_helpers(len(queue))):
            helpers.append(Helper(queue))
    return helpers


class Helper:
    """A process, and the thread that hands it jobs from the queue's far end, one at a time."""

    def __init__(self, queue: deque[Job]):
        path = os.pathsep.join(each for each in sys.path if each)
        environ = {**os.environ, variant.ENVIRONMENT: variant.ACTIVE, "PYTHONPATH": path}
        command, pipe = [sys.executable, "-m", "cpu_fallback.ahead"], subprocess.PIPE
        self.queue = queue
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=environ)
        self.thread = threading.Thread(target=self._feed, daemon=True)
        self.thread.start()

    def _feed(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        while self.queue:
            try:
                twin, kinds = self.queue.pop()
                pickle.dump((twin.py_func.__module__, twin.py_func.__name__, kind_of(twin), kinds), self.process.stdin)
                self.process.stdin.flush()
                if not self.process.stdout.readline():
                    return
            except (OSError, IndexError):  # it has died, or the other end was faster
                return

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.thread.join()
        for stream in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                stream.close()  # type: ignore[union-attr]


def kind_of(twin: Any) -> int | None:
    """The ggml type of a twin that is made per format."""
    variety = getattr(twin, "variety", "")
    return int(variety) if variety else None


def twin_of(module: str, name: str, kind: int | None) -> Any:
    found = getattr(importlib.import_module(module), name)
    return found if kind is None else found.twin(kind)


def main() -> None:
    while True:
        try:
            module, name, kind, kinds = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        entry_for(twin_of(module, name, kind), kinds)
        print(flush=True)


if __name__ == "__main__":
    main()
