"""Twins as plain machine code with one signature, so that a program of many ops can call them by address.

`compile_entry(twin, arguments)` compiles entry(arguments' address, part, parts, scratch's address) -> status: it
reads the twin's arguments from a record of int64 slots, in order (an array: its address and its shape; a whole
number: itself; a float: the bits of its float64), and calls the twin. `record` writes such a record from numpy arrays
and numbers.
"""

from __future__ import annotations

import contextlib
import functools
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np.numpy_support import from_dtype

from cpu_fallback.jit import SCRATCH, cached

I64 = ir.IntType(64)
ENTRY = types.int64(types.int64, types.int64, types.int64, types.int64)


def kind_of(value: Any) -> types.Type:
    """The numba type that a twin is compiled for, for an argument of this kind."""
    if isinstance(value, np.ndarray):
        return array_kind(value.dtype, value.ndim)
    return types.float64 if isinstance(value, float) else types.int64


@functools.cache
def array_kind(dtype: np.dtype, ndim: int) -> types.Array:
    return types.Array(from_dtype(dtype), ndim, "C")


def record(values: list[Any]) -> list[int]:
    slots: list[int] = []
    for value in values:
        if isinstance(value, np.ndarray):
            slots += [value.ctypes.data, *value.shape]
        elif isinstance(value, float):
            slots += struct.unpack("<q", struct.pack("<d", value))
        else:
            slots.append(int(value))
    return slots


def make_array(context: Any, builder: Any, kind: types.Array, address: Any, shape: list[Any]) -> Any:
    """A C-contiguous numba array over memory that numba does not own."""
    itemsize = context.get_abi_sizeof(context.get_data_type(kind.dtype))
    strides = [ir.Constant(I64, itemsize)]
    for size in reversed(shape[1:]):
        strides.insert(0, builder.mul(strides[0], size))
    array = context.make_array(kind)(context, builder)
    data = builder.inttoptr(address, context.get_value_type(kind.dtype).as_pointer())
    context.populate_array(
        array, data=data, shape=shape, strides=strides, itemsize=ir.Constant(I64, itemsize), meminfo=None
    )
    return array._getvalue()


def arguments_reader(kinds: tuple[types.Type, ...]) -> Any:
    """An intrinsic: address of a record -> the tuple of arguments."""
    result = types.Tuple(kinds)

    def read_arguments(_typing: Any, _address: Any) -> Any:
        def lowered(context: Any, builder: Any, _sig: Any, values: Any) -> Any:
            slots = builder.inttoptr(values[0], I64.as_pointer())
            position = 0

            def take() -> Any:
                nonlocal position
                position += 1
                return builder.load(builder.gep(slots, [ir.Constant(I64, position - 1)]))

            arguments = []
            for kind in kinds:
                if isinstance(kind, types.Array):
                    address = take()
                    arguments.append(make_array(context, builder, kind, address, [take() for _ in range(kind.ndim)]))
                else:
                    slot = take()
                    arguments.append(slot if kind == types.int64 else builder.bitcast(slot, ir.DoubleType()))
            return context.make_tuple(builder, result, arguments)

        return result(types.int64), lowered

    return intrinsic(read_arguments)


@intrinsic
def scratch_at(_typing: Any, _address: Any) -> Any:
    """(address) -> float32 array of SCRATCH elements."""
    kind = types.Array(types.float32, 1, "C")

    def lowered(context: Any, builder: Any, _sig: Any, values: Any) -> Any:
        return make_array(context, builder, kind, values[0], [ir.Constant(I64, SCRATCH)])

    return kind(types.int64), lowered


class Entry:
    """A compiled twin. `address` is that of its machine code; the object keeps it in memory."""

    def __init__(self, twin: Any, kinds: tuple[types.Type, ...]):
        read_arguments = arguments_reader(kinds)

        def entry(arguments, part, parts, scratch):
            return twin(*read_arguments(arguments), part, parts, scratch_at(scratch))

        name = f"{twin.py_func.__module__}.{twin.py_func.__name__}.{getattr(twin, 'variety', '')}.entry"
        self._dispatcher = cached(entry, f"{name}.{'-'.join(map(str, kinds))}")
        if not USE_CACHE:
            self._dispatcher._cache.disable()
        self._dispatcher.compile(ENTRY)
        self._result = self._dispatcher.overloads[ENTRY.args]
        self.was_cached = bool(self._dispatcher.stats.cache_hits)
        self.address: int = self._result.library.get_pointer_to_function(self._result.fndesc.llvm_func_name)

    def llvm(self) -> str:
        """Its code before it became the machine's, for checks against other processors."""
        return str(self._dispatcher.inspect_llvm(ENTRY.args))


@intrinsic
def call_entry(_typing: Any, _address: Any, _arguments: Any, _part: Any, _parts: Any, _scratch: Any) -> Any:
    """Calls an entry by address, by numba's calling convention; its status, or RAISED where it raised an exception."""

    def lowered(_context: Any, builder: Any, _sig: Any, values: Any) -> Any:
        pointer = ir.IntType(8).as_pointer()
        convention = ir.FunctionType(ir.IntType(32), [I64.as_pointer(), pointer.as_pointer(), *[I64] * 4])
        function = builder.inttoptr(values[0], convention.as_pointer())
        status, problem = cgutils.alloca_once(builder, I64), cgutils.alloca_once(builder, pointer)
        code = builder.call(function, [status, problem, *values[1:]])
        failed = builder.icmp_signed("!=", code, ir.Constant(code.type, 0))
        return builder.select(failed, ir.Constant(I64, RAISED), builder.load(status))

    return types.int64(*[types.int64] * 5), lowered


RAISED = -2  # the status of a twin that raised an exception, as bounds checks do


ENTRIES: dict[tuple, Entry] = {}
USE_CACHE = True


@contextlib.contextmanager
def without_cache() -> Iterator[None]:
    """Entries made meanwhile are compiled, whatever the cache has."""
    global USE_CACHE
    USE_CACHE = False
    try:
        yield
    finally:
        USE_CACHE = True


def entry_for(twin: Any, kinds: tuple[types.Type, ...]) -> Entry:
    """The twin's entry for arguments of these kinds, compiled when first asked for."""
    found = ENTRIES.get((twin, kinds))
    if found is None:
        found = ENTRIES.setdefault((twin, kinds), Entry(twin, kinds))
    return found


def is_compiled(twin: Any, kinds: tuple[types.Type, ...]) -> bool:
    return (twin, kinds) in ENTRIES
