"""How much processor time everything but this benchmark took while it measured, read from Linux's /proc.

Two engines suffer differently from a third program on their cores: threads that spin at barriers (llama.cpp's) lose
most. A ratio measured beside other work says little, so results carry this figure.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

PROC = Path("/proc")
TOO_MUCH = 0.1  # cores
BUSY = (0, 1, 2, 5, 6, 7)  # of a cpu line: user, nice, system, irq, softirq, steal
USER_SYSTEM = (11, 12)  # of a process's stat, counted from the field after its name


class Neighbours:
    """Starts to count when made. pids: the benchmark's other processes, which must live until it is read."""

    def __init__(self, pids: Iterable[int] = ()):
        self.pids = [os.getpid(), *pids]
        self.begun, self.ticks = time.perf_counter(), self._ticks()

    def cores(self) -> float | None:
        """Cores that others kept busy since then, on average; None where the system does not say."""
        now = self._ticks()
        if self.ticks is None or now is None:
            return None
        seconds = (now - self.ticks) / os.sysconf("SC_CLK_TCK")
        return max(0.0, seconds / (time.perf_counter() - self.begun))

    def _ticks(self) -> int | None:
        try:
            own = sum(process_ticks((PROC / str(pid) / "stat").read_text()) for pid in self.pids)
            return busy_ticks((PROC / "stat").read_text()) - own
        except OSError:
            return None


def busy_ticks(stat: str) -> int:
    """Of all processors together, from the text of /proc/stat."""
    fields = stat.splitlines()[0].split()[1:]
    return sum(int(fields[i]) for i in BUSY)


def process_ticks(stat: str) -> int:
    """Of one process and its threads, from the text of /proc/PID/stat (its name may hold spaces and brackets)."""
    fields = stat.rpartition(")")[2].split()
    return sum(int(fields[i]) for i in USER_SYSTEM)
