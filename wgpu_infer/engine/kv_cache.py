"""The paged KV cache: which pages belong to which sequence. The backend stores the pages; this accounts for them.

Pages for a sequence's whole possible length are reserved when it starts, so a running sequence never waits for memory
and never loses what it has; a sequence that does not fit waits its turn.
"""

from __future__ import annotations

import numpy as np

from wgpu_infer.backends.base import KV, Backend
from wgpu_infer.contracts.contract import PAGE_SLOTS, ceil_div
from wgpu_infer.models.config import ModelConfig


class KVCache:
    """`pages` pages of 64 tokens for every layer, `slots` rows of the block table."""

    def __init__(self, backend: Backend, config: ModelConfig, context: int, slots: int, pages: int, dtype: str):
        self.backend = backend
        self.table = np.zeros((slots, ceil_div(context, PAGE_SLOTS)), np.uint32)
        self.table_handle = backend.empty(self.table.shape, np.uint32, "block_table")
        self.layers: list[KV] = [
            backend.kv(pages, config.kv_heads, config.head_dim, self.table_handle, dtype) for _ in range(config.layers)
        ]
        self.free_pages = list(range(pages))[::-1]
        self.free_slots = list(range(slots))[::-1]
        self.owned: dict[int, list[int]] = {}

    def can_reserve(self, tokens: int) -> bool:
        return bool(self.free_slots) and ceil_div(tokens, PAGE_SLOTS) <= len(self.free_pages)

    def reserve(self, tokens: int) -> int:
        """A table row with pages for that many tokens."""
        slot = self.free_slots.pop()
        pages = [self.free_pages.pop() for _ in range(ceil_div(tokens, PAGE_SLOTS))]
        self.owned[slot] = pages
        self.table[slot, : len(pages)] = pages
        self.backend.write(self.table_handle, self.table)
        return slot

    def release(self, slot: int) -> None:
        self.free_pages += self.owned.pop(slot)
        self.free_slots.append(slot)


def bytes_per_page(config: ModelConfig, dtype: str) -> int:
    """Bytes of K and V that one page takes over all layers."""
    value = {"f32": 4.0, "f16": 2.0, "q8_0": 34 / 32}[dtype]
    return int(2 * config.layers * config.kv_dim * PAGE_SLOTS * value)
