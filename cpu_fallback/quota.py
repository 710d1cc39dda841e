"""How much processor time a container leaves this process: Linux cgroups, version 2 and 1."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

CGROUPS, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def quota(cgroups: Path = CGROUPS, own: Path = OWN) -> float:
    """Processors' worth of time, the least of this process's group and those above it; infinity without a limit."""
    return min((limit for folder in groups(cgroups, own) for limit in limits(folder)), default=math.inf)


def groups(cgroups: Path, own: Path) -> Iterator[Path]:
    """The folders of this process's groups; inside a container they often lie at the top, whatever `own` says."""
    with contextlib.suppress(OSError, ValueError):
        for line in own.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            top = cgroups / "cpu" if controllers else cgroups
            inner = PurePosixPath(path.lstrip("/"))
            yield from (top / part for part in (inner, *inner.parents))


def limits(folder: Path) -> Iterator[float]:
    with contextlib.suppress(OSError, ValueError):
        allowed, period = (folder / "cpu.max").read_text().split()
        yield int(allowed) / int(period)  # "max" is no number: no limit
    with contextlib.suppress(OSError, ValueError):
        allowed, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        if int(allowed) > 0:
            yield int(allowed) / int(period)
