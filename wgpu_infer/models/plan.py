"""Memory for a pass's activations: those that are never needed at the same time lie in the same place.

A value is needed from the op that writes it to the last op that reads it before it is written anew, both included: so
no op ever reads and writes one place under two names, which WebGPU forbids. A pass has no branches, so this is exact.
Names are laid into places largest first, each into the first place whose other names leave it alone.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from wgpu_infer.backends.base import Act8, Array, Backend, Handle
from wgpu_infer.contracts.contract import Op

Call = tuple[Op, tuple[Handle, ...]]


@dataclass
class Place:
    """Handles that share memory, the largest first. Bit i of `taken`: call i needs one of them."""

    handles: list[Array | Act8] = field(default_factory=list)
    taken: int = 0

    def fits(self, handle: Array | Act8, needed: int) -> bool:
        return not self.taken & needed and (not self.handles or kind_of(handle) == kind_of(self.handles[0]))


def kind_of(handle: Array | Act8) -> tuple:
    """Only handles of one kind share memory: arrays by their type, int8 activations by their shape as well."""
    return (handle.rows, handle.cols) if isinstance(handle, Act8) else (handle.dtype,)


def size_of(handle: Array | Act8) -> int:
    return handle.rows * handle.cols if isinstance(handle, Act8) else math.prod(handle.shape)


def list_needs(calls: Sequence[Call], kept: Collection[Handle]) -> dict[Array | Act8, int]:
    """The calls that need each handle without memory, as bits; all calls, if it is kept. Writes without a read between
    them (the parts of a product) are of one value."""
    needs: dict[Array | Act8, int] = {}
    last: dict[Handle, tuple[int, bool]] = {}  # the last call that had it, and whether that read it
    for at, (op, operands) in enumerate(calls):
        for spec, handle in zip(op.operands, operands, strict=True):
            if not isinstance(handle, Array | Act8) or handle.payload is not None:
                continue
            before, was_read = last.get(handle, (at, True))
            start = at if spec.access == "w" and was_read else before
            needs[handle] = needs.get(handle, 0) | (1 << at + 1) - (1 << start)
            last[handle] = at, spec.access != "w"
    return {h: (1 << len(calls)) - 1 if h in kept else found for h, found in needs.items()}


def plan(calls: Sequence[Call], kept: Collection[Handle] = ()) -> list[Place]:
    """Places for all handles of the calls that have no memory yet; `kept` ones are needed outside the calls as well."""
    places: list[Place] = []
    needs = list_needs(calls, kept)
    for handle in sorted(needs, key=size_of, reverse=True):
        place = next((p for p in places if p.fits(handle, needs[handle])), None)
        if place is None:
            places.append(place := Place())
        place.handles.append(handle)
        place.taken |= needs[handle]
    return places


def allocate(backend: Backend, places: Iterable[Place]) -> None:
    """Gives every handle its memory."""
    for place in places:
        largest = place.handles[0]
        label = "+".join(handle.label for handle in place.handles)
        if isinstance(largest, Act8):
            payload = backend.act8(largest.rows, largest.cols, label).payload
        else:
            payload = backend.empty(largest.shape, largest.dtype, label).payload
        for handle in place.handles:
            handle.payload = payload


def planned(shape: tuple[int, ...], label: str, dtype: type = np.float32) -> Array:
    """An array whose memory is yet to be planned."""
    return Array(shape, np.dtype(dtype), None, label)
