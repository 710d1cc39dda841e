"""Device memory that is used again: buffers in size classes, a stock of those that nobody holds.

The device's queue runs in order, and whoever writes to a buffer queues that behind everything before. So a buffer can
be leased again as soon as its holder has dropped it, whatever of its work is still under way. A lease reads as zeros.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from wgpu_infer.backends.webgpu.resources import GpuBuffer

MIN_BYTES = 256
KEPT = 64 << 20  # bytes of unleased buffers that are kept; of more, the largest go back to the device

Create = Callable[[int, str], Any]  # (bytes, label) -> wgpu's buffer, zeroed
Clear = Callable[[Any, int], None]  # queues the zeroing of a buffer's first bytes


def size_class(nbytes: int) -> int:
    """The bytes of the buffer that a lease of `nbytes` gets: eight classes per octave, so at most 1/8 more."""
    if nbytes <= MIN_BYTES:
        return MIN_BYTES
    step = 1 << max(nbytes.bit_length() - 4, 4)
    return -(-nbytes // step) * step


class Pool:
    """Leases of one device. `reserved`, `used` and `high_water` are bytes: of all its buffers, of the leased ones, and
    the most that were ever leased at once."""

    def __init__(self, create: Create, clear: Clear, max_bytes: int):
        self._create, self._clear, self._max_bytes = create, clear, max_bytes
        self._free: dict[int, list[Any]] = {}  # by size
        self._returned: deque[tuple[int, Any]] = deque()  # (size, buffer); finalizers may run anywhere
        self._reserved = self._used = self.high_water = 0

    @property
    def reserved(self) -> int:
        self._collect()
        return self._reserved

    @property
    def used(self) -> int:
        self._collect()
        return self._used

    def lease(self, nbytes: int, label: str = "") -> GpuBuffer:
        """A zeroed buffer of nbytes (a multiple of 16), the pool's again when the last reference to it is gone."""
        self._collect()
        size = max(nbytes, min(size_class(nbytes), self._max_bytes))
        stock = self._free.get(size)
        if stock:
            handle = stock.pop()
            self._clear(handle, nbytes)
        else:
            handle = self._create(size, label)
            self._reserved += size
        self._used += size
        self.high_water = max(self.high_water, self._used)
        buffer = GpuBuffer(handle, nbytes)
        weakref.finalize(buffer, self._returned.append, (size, handle)).atexit = False
        return buffer

    def trim(self) -> None:
        """Gives all unleased buffers back to the device."""
        self._collect(kept=0)

    def _collect(self, kept: int | None = None) -> None:
        """Takes back what was dropped, and keeps at most so many bytes of it."""
        while self._returned:
            size, handle = self._returned.popleft()
            self._free.setdefault(size, []).append(handle)
            self._used -= size
        while self._reserved - self._used > (KEPT if kept is None else kept):
            size = max(size for size, stock in self._free.items() if stock)
            self._free[size].pop()
            self._reserved -= size
