"""How fast this machine reads the weights from memory: the limit of a decode step, measured on the arrays themselves.

Every thread reads its share of the arrays in four streams of wide vector loads and adds them up. The sum is returned,
so that the compiler cannot leave the loop out; a test compares it with numpy's. Python threads, not numba's, start the
kernel: no threading layer and no setting of the engine comes in between.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

MIN_BYTES = 256 << 20  # read in all per measurement
REPEATS = 3  # the best counts: whatever else runs can only slow a read
ALIGN = 64  # bytes of the widest vector
CACHE_BYTES = 256 << 20  # arrays smaller than this may lie in a large processor's cache
PACKED = ("packed", "data")  # what backends call a weight's bytes


@numba.njit("uint64(Array(uint64, 1, 'C', readonly=True))", nogil=True)  # type: ignore[untyped-decorator]
def add_words(words: Words) -> np.uint64:
    """The sum of all words, modulo 2⁶⁴."""
    part = len(words) // 4
    a = b = c = d = np.uint64(0)
    for i in range(part):
        a += words[i]
        b += words[i + part]
        c += words[i + 2 * part]
        d += words[i + 3 * part]
    for i in range(4 * part, len(words)):
        a += words[i]
    return a + b + c + d


def weight_arrays(llm: Any) -> list[NDArray[np.uint8]]:
    """The uint8 arrays (bytes,) that a loaded model's matrices lie in, each once."""
    found: dict[tuple[int, int], NDArray[np.uint8]] = {}
    for handle in llm._engine.model.weights.handles():
        for array in payload_arrays(handle.payload):
            found[array.ctypes.data, array.nbytes] = array
    if not found:
        raise TypeError(f"no weight of this model keeps its bytes under one of the names {', '.join(PACKED)}")
    return list(found.values())


def payload_arrays(payload: Any) -> Iterator[NDArray[np.uint8]]:
    for name in PACKED:
        array = getattr(payload, name, None)
        if isinstance(array, np.ndarray) and array.dtype == np.uint8 and array.flags.c_contiguous:
            yield array.reshape(-1)


def as_words(array: NDArray[np.uint8]) -> Words:
    """The array without the few bytes at its ends that do not fill an aligned vector; read-only."""
    skip = -array.ctypes.data % ALIGN
    words = array[skip : skip + (array.nbytes - skip) // ALIGN * ALIGN].view(np.uint64)
    words.flags.writeable = False
    return words


class ReadRate:
    """Call it for the GB/s (10⁹ bytes) at which `threads` threads together read the arrays."""

    def __init__(self, arrays: Sequence[NDArray[np.uint8]], threads: int):
        words = [as_words(array) for array in arrays]
        self.nbytes = sum(each.nbytes for each in words)
        self.passes = -(-MIN_BYTES // self.nbytes)
        self.shares = [[cut(each, i, threads) for each in words] for i in range(threads)]
        self.sums = [0] * threads

    @property
    def is_cached(self) -> bool:
        """Whether the arrays are so small that this is a cache's rate rather than the memory's."""
        return self.nbytes < CACHE_BYTES

    def __call__(self) -> float:
        return max(self.measure() for _ in range(REPEATS))

    def measure(self) -> float:
        """One measurement: from the first thread's start to the last one's end."""
        spans: list[tuple[float, float]] = []
        ready = threading.Barrier(len(self.shares))

        def work(index: int) -> None:
            ready.wait()
            begun = time.perf_counter()
            for _ in range(self.passes):
                self.sums[index] = sum(int(add_words(words)) for words in self.shares[index])
            spans.append((begun, time.perf_counter()))

        threads = [threading.Thread(target=work, args=(i,)) for i in range(len(self.shares))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = max(end for _, end in spans) - min(begun for begun, _ in spans)
        return self.passes * self.nbytes / seconds / 1e9


def cut(words: Words, index: int, parts: int) -> Words:
    return words[len(words) * index // parts : len(words) * (index + 1) // parts]
