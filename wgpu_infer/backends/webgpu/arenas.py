"""Weights side by side in few large buffers, each bound as the range it takes.

A device has few allocations to give away, and each costs. Ranges begin where the device lets a binding begin. An arena
is freed when the last of its ranges is dropped; ranges are never used again, since weights come and go together.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from wgpu_infer.backends.webgpu.resources import GpuBuffer
from wgpu_infer.errors import OutOfMemoryError

MAX_ARENA = 1 << 30
ALIGNMENT = 256  # the coarsest that WebGPU allows a device to ask of a binding's offset


def aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


@dataclass(eq=False)
class Arena:
    """`filled` bytes from the start are given away. It does not hold its buffer: its ranges do."""

    handle: weakref.ref
    size: int
    filled: int = 0


class Arenas:
    """`expect` says how much is about to come; what is not expected gets an arena of its own size."""

    def __init__(self, create: Callable[[int, str], Any], max_bytes: int):
        self._create = create
        self._max_bytes = min(MAX_ARENA, max_bytes) // ALIGNMENT * ALIGNMENT
        self._arenas: list[Arena] = []
        self._expected = 0

    def expect(self, nbytes: int) -> None:
        self._expected = nbytes

    def take(self, nbytes: int, label: str = "") -> GpuBuffer:
        """A range of nbytes, zeroed as long as nothing is written."""
        need = aligned(nbytes)
        self._arenas = [arena for arena in self._arenas if arena.handle() is not None]
        arena = next((a for a in self._arenas if a.size - a.filled >= need), None)
        handle = arena.handle() if arena else None
        if arena is None or handle is None:
            handle, arena = self._new_arena(need, label)
        start, arena.filled = arena.filled, arena.filled + need
        self._expected = max(0, self._expected - need)
        return GpuBuffer(handle, -(-nbytes // 16) * 16, start)

    def _new_arena(self, need: int, label: str) -> tuple[Any, Arena]:
        """One for all that is expected, or where the device has no room for that, for less of it."""
        size = max(need, min(self._max_bytes, aligned(self._expected)))
        while True:
            try:
                handle = self._create(size, f"weights from {label}")
                break
            except OutOfMemoryError:
                if size == need:
                    raise
                size = max(need, aligned(size // 2))
        self._arenas.append(Arena(weakref.ref(handle), size))
        return handle, self._arenas[-1]
