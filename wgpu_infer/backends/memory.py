"""How much memory a backend holds, and how it keeps count."""

from __future__ import annotations

import weakref
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Memory:
    """Bytes that a backend holds: weights, KV pages, and `reserved` for everything else (activations, tables, staging).

    used: what of `reserved` is in use; high_water: the most that ever was. buffers: how many were made of any kind.
    """

    weights: int
    kv: int
    reserved: int
    used: int
    high_water: int
    buffers: int

    @property
    def fragmentation(self) -> float:
        """The share of `reserved` that lies unused."""
        return 1.0 - self.used / self.reserved if self.reserved else 0.0

    def __str__(self) -> str:
        sizes = ", ".join(f"{name} {getattr(self, name) / 1e6:.1f} MB" for name in ("weights", "kv"))
        rest = f"activations {self.used / 1e6:.1f} of {self.reserved / 1e6:.1f} MB, at most {self.high_water / 1e6:.1f}"
        return f"{sizes}, {rest}; {self.buffers} buffers made"


class Ledger:
    """Bytes by kind (weights, kv, arrays, staging), each held as long as its owner lives."""

    def __init__(self) -> None:
        self._bytes: Counter[str] = Counter()
        self._gone: deque[tuple[str, int]] = deque()  # finalizers may run anywhere
        self._high_water = self._made = 0

    def hold(self, kind: str, nbytes: int, owner: Any) -> None:
        self._bytes[kind] += nbytes
        self._made += 1
        self._high_water = max(self._high_water, self.bytes("arrays"))
        weakref.finalize(owner, self._gone.append, (kind, nbytes)).atexit = False

    def bytes(self, kind: str) -> int:
        while self._gone:
            gone, nbytes = self._gone.popleft()
            self._bytes[gone] -= nbytes
        return self._bytes[kind]

    def memory(self) -> Memory:
        """Of a backend whose arrays come and go one by one."""
        arrays = self.bytes("arrays")
        return Memory(self.bytes("weights"), self.bytes("kv"), arrays, arrays, self._high_water, self._made)
