"""Where coverage's tracer pauses, and where it goes on: a test's long loops take 2 to 5 times longer when traced."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

TRACERS: list[Any] = []  # those that pause, the innermost last


def paused(function: Callable) -> Callable:
    """The function, not traced. Stopping and going on in one frame leaves the tracer's own stack as it was."""

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        tracer = sys.gettrace()
        if type(tracer).__name__ != "CTracer":
            return function(*args, **options)
        TRACERS.append(tracer)
        tracer.stop()
        try:
            return function(*args, **options)
        finally:
            tracer.start()
            TRACERS.pop()

    return call


def traced(function: Callable) -> Callable:
    """The function, traced even where what calls it is not."""

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        if not TRACERS or sys.gettrace() is not None:
            return function(*args, **options)
        tracer = TRACERS[-1]
        tracer.start()
        try:
            return function(*args, **options)
        finally:
            tracer.stop()

    return call
