"""GPU commands issued from a table: compiled loops that call a native library's C functions by address.

Nothing of Python runs between two dispatches, and the interpreter's lock is free meanwhile. The addresses are
arguments, so the machine code holds none and can be kept on disk. Every C argument is passed as 64 bits: all are
pointers or whole numbers, of which a callee reads the lower half where it wants no more.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from cpu_fallback.jit import cached

I64 = ir.IntType(64)
# the functions, in the order of their addresses
CREATE_ENCODER, BEGIN_PASS, SET_PIPELINE, SET_BIND_GROUP, SET_IMMEDIATES, DISPATCH, END_PASS = range(7)
RELEASE_PASS, FINISH, RELEASE_ENCODER, SUBMIT, RELEASE_COMMANDS = range(7, 12)
PIPELINE, BIND_GROUP, X, Y, Z, IMMEDIATES, LAST = range(7)  # columns of a table; LAST: a submission ends here


@intrinsic
def call(_typing: Any, address: Any, values: Any) -> Any:
    """(address, (values, …)) -> what the C function returns; of no meaning where it returns nothing."""

    def lowered(_context: Any, builder: Any, _sig: Any, arguments: Any) -> Any:
        given = cgutils.unpack_tuple(builder, arguments[1])
        function = ir.FunctionType(I64, [I64] * len(given))
        return builder.call(builder.inttoptr(arguments[0], function.as_pointer()), given)

    return types.int64(address, values), lowered


@cached
def encode(f, device, table, immediate_bytes, commands):
    """Makes a command buffer of one compute pass for each submission of the table; their handles go to `commands`."""
    i, count = 0, 0
    while i < table.shape[0]:
        encoder = call(f[CREATE_ENCODER], (device, 0))
        compute_pass = call(f[BEGIN_PASS], (encoder, 0))
        pipeline, going_on = 0, True
        while going_on:
            if table[i, PIPELINE] != pipeline:
                pipeline = table[i, PIPELINE]
                call(f[SET_PIPELINE], (compute_pass, pipeline))
            call(f[SET_BIND_GROUP], (compute_pass, 0, table[i, BIND_GROUP], 0, 0))
            call(f[SET_IMMEDIATES], (compute_pass, 0, table[i, IMMEDIATES], immediate_bytes))
            call(f[DISPATCH], (compute_pass, table[i, X], table[i, Y], table[i, Z]))
            going_on = table[i, LAST] == 0
            i += 1
        call(f[END_PASS], (compute_pass,))
        call(f[RELEASE_PASS], (compute_pass,))
        commands[count] = call(f[FINISH], (encoder, 0))
        call(f[RELEASE_ENCODER], (encoder,))
        count += 1


@cached
def submit(f, queue, commands, address):
    """Submits the command buffers one by one and lets go of them. address: of `commands`."""
    for k in range(commands.shape[0]):
        call(f[SUBMIT], (queue, 1, address + 8 * k))
        call(f[RELEASE_COMMANDS], (commands[k],))
        commands[k] = 0


@cached
def drop(f, commands):
    """Lets go of command buffers that are not to be submitted."""
    for k in range(commands.shape[0]):
        if commands[k]:
            call(f[RELEASE_COMMANDS], (commands[k],))
            commands[k] = 0
