"""How many threads kernels use and how numba starts them.

Of numba's threading layers `omp` comes first here: two Python threads may run kernels at once on it, while `workqueue`
aborts the process when they do. Where only workqueue loads, or is asked for, `gate` lets one kernel run at a time.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
from pathlib import Path
from typing import Any

import numba

from cpu_fallback.quota import quota

config: Any = numba.config  # its attributes come from the environment
PRIORITY = ["omp", "tbb", "workqueue"]
ONE_AT_A_TIME = threading.RLock()
CALLER = threading.local()  # .count: what `use` last set in this thread
STARTED_IN: int | None = None  # the process that ran the first kernel
TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/{}"
SIBLINGS = ("core_cpus_list", "thread_siblings_list")  # the kernel's names for it, new and old


def prefer_omp() -> None:
    """Before the first parallel kernel; a layer, an order or a way of waiting set by the environment stays.

    Threads wait asleep: spinning ones saved microseconds on an idle machine, but held up the thread with the work for
    milliseconds wherever another program wanted a core (47 against 339 tok/s of the small model, one core of two busy).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if config.THREADING_LAYER == "default" and "NUMBA_THREADING_LAYER_PRIORITY" not in os.environ:
        config.THREADING_LAYER_PRIORITY = PRIORITY


def layer() -> str:
    """The threading layer in use, or "none" while no parallel kernel has run."""
    try:
        return numba.threading_layer()
    except ValueError:
        return "none"


def gate() -> contextlib.AbstractContextManager:
    """Hold it while a kernel runs. Before the first kernel has shown the layer, it is a lock."""
    return contextlib.nullcontext() if layer() in ("omp", "tbb") else ONE_AT_A_TIME


def most() -> int:
    return int(config.NUMBA_NUM_THREADS)


def usable_cpus() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def core_of(cpu: int) -> str:
    """A name shared by the hardware threads of one core; the cpu's own where the system does not say."""
    for name in SIBLINGS:
        with contextlib.suppress(OSError):
            return Path(TOPOLOGY.format(cpu, name)).read_text().strip()
    return str(cpu)


def physical_cores() -> int:
    """Cores this process may use, each counted once (a second hardware thread does not read memory any faster), and
    no more than its container gives it time for: threads beyond that are stopped in the middle of their work."""
    cores = len({core_of(cpu) for cpu in usable_cpus()})
    return int(max(1, min(cores, most(), math.ceil(min(quota(), cores)))))


def is_forked() -> bool:
    """Whether OpenMP's threads were started in a process that this one was forked from: GNU OpenMP then ends it."""
    return STARTED_IN not in (None, os.getpid()) and layer() == "omp"


def use(count: int) -> None:
    """Makes the calling thread's kernels run on `count` threads (numba keeps the number per calling thread)."""
    global STARTED_IN
    STARTED_IN = STARTED_IN or os.getpid()
    if getattr(CALLER, "count", None) != count:
        numba.set_num_threads(count)
        CALLER.count = count
