"""Calling the `tokenizers` library: its errors and panics become typed errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def guarded(error: type[Exception], doing: str) -> Iterator[None]:
    """Turns what the library raises into `error`: also a panic in Rust, a BaseException that `except Exception` misses.

    Interrupts and the like pass.
    """
    try:
        yield
    except Exception as fault:
        raise error(f"{doing}: {str(fault)[:200]}") from fault
    except BaseException as fault:
        if type(fault).__name__ != "PanicException":
            raise
        raise error(f"{doing}: the tokenizers library failed inside: {str(fault)[:200]}") from fault
