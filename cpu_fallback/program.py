"""A program: ops cut into parts, run by several threads that meet between dependent ops only.

All threads walk the list of ops. Each op's parts are dealt out in equal runs, one run per thread; a thread that is done
with its own run helps with the others', so a thread that is held up (or never started) holds up nobody longer than the
part it has in hand, and nothing depends on which thread does what. Before an op that needs the results of others, a
thread waits until those are done: it spins, and yields its core after a while. One program costs one start of the
threads, however many ops it has.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from llvmlite import ir
from numba import prange
from numba.core import types
from numba.extending import intrinsic

from cpu_fallback.ahead import compile_all
from cpu_fallback.entry import I64, Entry, call_entry, entry_for, is_compiled, kind_of, record
from cpu_fallback.jit import SCRATCH, cached, device, kernel, parallel_kernel
from cpu_fallback.simd import address

CALL, ARGUMENTS, PARTS, AFTER = range(4)  # columns of `ops`: address, record's place, parts, the op to wait for
LINE = 8  # int64 of a cache line: each counter has one of its own
SPINS = 2000  # some 20-50 µs


def element(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    return builder.gep(context.make_array(kind)(context, builder, array).data, [index])


@intrinsic
def fetch_add(_typing: Any, array: Any, _index: Any, _value: Any) -> Any:
    """(int64 array, flat index, value): adds atomically, returns what was there."""

    def lowered(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        return builder.atomic_rmw("add", element(context, builder, sig.args[0], *values[:2]), values[2], "acq_rel")

    return types.int64(array, types.int64, types.int64), lowered


@intrinsic
def load_acquire(_typing: Any, array: Any, _index: Any) -> Any:
    def lowered(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        return builder.load_atomic(element(context, builder, sig.args[0], *values), "acquire", 8)

    return types.int64(array, types.int64), lowered


@intrinsic
def give_way(_typing: Any, _function: Any) -> Any:
    """Calls the system's function that gives the core to another thread, by address; 0 does nothing."""

    def lowered(context: Any, builder: Any, _sig: Any, values: Any) -> Any:
        with builder.if_then(builder.icmp_signed("!=", values[0], ir.Constant(I64, 0))):
            kind = ir.FunctionType(ir.IntType(32), [])
            builder.call(builder.inttoptr(values[0], kind.as_pointer()), [])
        return context.get_dummy_value()

    return types.void(types.int64), lowered


def yield_function() -> int:
    """The address of sched_yield (or SwitchToThread); 0 where there is neither."""
    try:
        library = ctypes.windll.kernel32 if hasattr(ctypes, "windll") else ctypes.CDLL(None)
        function = getattr(library, "SwitchToThread" if hasattr(ctypes, "windll") else "sched_yield")
        return ctypes.cast(function, ctypes.c_void_p).value or 0
    except (OSError, AttributeError):
        return 0


@device
def wait_for(counters, done, parts, yield_address):
    spins = 0
    while load_acquire(counters, done) < parts:
        spins += 1
        if spins > SPINS:
            give_way(yield_address)


@kernel
def walk(ops, records, counters, statuses, yield_address, worker, workers, scratch):
    """One thread's walk; a twin like any other, its parts being threads. counters (ops, workers + 1, 8), flat: parts
    taken of each run, and behind them parts done."""
    width = (workers + 1) * LINE
    memory = address(scratch, 0)
    finished = 0  # ops known to be done
    for k in range(ops.shape[0]):
        parts = ops[k, PARTS]
        while finished <= ops[k, AFTER]:
            wait_for(counters, finished * width + workers * LINE, ops[finished, PARTS], yield_address)
            finished += 1
        mine = 0
        for turn in range(workers):
            run = (worker + turn) % workers
            first, last = parts * run // workers, parts * (run + 1) // workers
            while first < last:
                part = first + fetch_add(counters, k * width + run * LINE, 1)
                if part >= last:
                    break
                status = call_entry(ops[k, CALL], records + ops[k, ARGUMENTS], part, parts, memory)
                if status:
                    statuses[k] = status
                mine += 1
        if mine:
            fetch_add(counters, k * width + workers * LINE, mine)
    return 0


@cached
def run_alone(walker, record, scratch):
    call_entry(walker, record, 0, 1, scratch)


@parallel_kernel
def run_together(walker, record, scratch, stride, workers):
    """scratch: address of the first thread's working memory, `stride` bytes before the next one's."""
    for worker in prange(workers):
        call_entry(walker, record, worker, workers, scratch + worker * stride)


@dataclass(frozen=True)
class Step:
    """One call of a twin with arguments of these kinds.

    reads, writes: ids of the arrays it touches, `moved` their bytes. keep: what must stay in memory. columns: of the
    array that a product writes among others, its id, the first column and the one behind the last.
    """

    twin: Any
    kinds: tuple
    record: list[int]
    parts: int
    reads: frozenset[int]
    writes: frozenset[int]
    moved: int
    keep: Any = field(repr=False, default=None)
    columns: tuple[int, int, int] | None = None


def waits(steps: Sequence[Step]) -> list[int]:
    """For every step the last one before it that must be done first, -1 for none: it reads what that one writes,
    or writes what that one reads or writes."""
    return [next((j for j in range(k - 1, -1, -1) if depends(step, steps[j])), -1) for k, step in enumerate(steps)]


def depends(step: Step, before: Step) -> bool:
    """But products that write different columns of one array go side by side."""
    shared = (before.writes & (step.reads | step.writes)) | (before.reads & step.writes)
    return bool(shared - beside(step, before))


def beside(a: Step, b: Step) -> frozenset[int]:
    """The array of which both write columns, none of them both."""
    if a.columns is None or b.columns is None or a.columns[0] != b.columns[0]:
        return frozenset()
    (array, first, last), (_, other_first, other_last) = a.columns, b.columns
    return frozenset({array} if last <= other_first or other_last <= first else ())


Progress = Callable[[int, int], None]  # kernels compiled so far, kernels that a program has to wait for


def quiet(_done: int, _total: int) -> None:
    pass


def compile_entries(steps: Sequence[Step], progress: Progress) -> list[Entry]:
    """The steps' entries; those that are not there yet are compiled, or read from the kernel cache."""
    new = list({(s.twin, s.kinds): None for s in steps if not is_compiled(s.twin, s.kinds)})
    if new:
        compile_all(new, progress)
    return [entry_for(s.twin, s.kinds) for s in steps]


class Program:
    """Steps ready to be run, again and again, by `workers` threads."""

    def __init__(self, steps: Sequence[Step], workers: int, progress: Progress = quiet):
        self.steps, self.workers = list(steps), workers
        entries = compile_entries(self.steps, progress)
        self.records = np.array([slot for step in steps for slot in step.record], np.int64)
        starts = np.cumsum([0, *(8 * len(step.record) for step in steps)])[:-1]
        columns = [[entry.address for entry in entries], starts, [s.parts for s in steps], waits(steps)]
        self.ops = np.ascontiguousarray(np.array(columns, np.int64).T.reshape(len(self.steps), 4))
        self.counters = np.zeros(len(self.steps) * (workers + 1) * LINE, np.int64)
        self.statuses = np.zeros(len(self.steps), np.int64)
        arguments = [self.ops, self.records.ctypes.data, self.counters, self.statuses, YIELD]
        self.walk = entry_for(walk, tuple(kind_of(value) for value in arguments))
        self.walk_record = np.array(record(arguments), np.int64)

    def run(self, scratch: np.ndarray) -> int | None:
        """Runs all steps; the index of the first that failed (its status is in `statuses`), or None.

        scratch: float32 (workers, SCRATCH), no other program's at the same time.
        """
        self.counters[:], self.statuses[:] = 0, 0
        called = self.walk.address, self.walk_record.ctypes.data, scratch.ctypes.data
        if self.workers == 1:
            run_alone(*called)
        else:
            run_together(*called, 4 * SCRATCH, self.workers)
        return int(np.flatnonzero(self.statuses)[0]) if self.statuses.any() else None


YIELD = yield_function()
