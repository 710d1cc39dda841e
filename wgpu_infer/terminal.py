"""What the commands share at a terminal: a progress bar while loading, and errors as one line with exit code 2.

What comes from a model file is printed without its control characters: a file cannot command the terminal.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, NoReturn

import click

from wgpu_infer.errors import WgpuInferError

HINTS = {FileNotFoundError: "give the path of a GGUF file", IsADirectoryError: "give the path of a GGUF file in it"}


class LoadingBar:
    """A bar on standard error from loading to the first token; nothing where standard error is not a terminal."""

    def __init__(self) -> None:
        self.bar: Any = None
        self.is_over = False
        self.after: Callable[[], None] | None = None

    def update(self, done: int, total: int) -> None:
        """Progress of the weights, in bytes."""
        self.show(done, total, "loading", "B")

    def compiling(self, done: int, total: int) -> None:
        """Progress of the kernels."""
        self.show(done, total, "compiling kernels", "kernel")

    def tuning(self, done: int, total: int) -> None:
        """Progress of choosing between variants of kernels."""
        self.show(done, total, "measuring kernels", "choice")

    def show(self, done: int, total: int, what: str, unit: str) -> None:
        if self.is_over or not sys.stderr.isatty():
            return
        if self.bar is None or self.bar.unit != unit:
            from tqdm import tqdm

            if self.bar is not None:
                self.bar.close()
            scaled = unit == "B"
            self.bar = tqdm(total=total, unit=unit, unit_scale=scaled, desc=what, leave=False, file=sys.stderr)
        elif self.bar.total != total:
            self.bar.reset(total)
        self.bar.update(done - self.bar.n)

    def then(self, action: Callable[[], None]) -> None:
        """What to do once the bar is gone."""
        self.after = action

    def options(self) -> dict[str, Any]:
        """Arguments of LLM."""
        return {"progress": self.update, "compiling": self.compiling, "tuning": self.tuning}

    def finish(self) -> None:
        self.is_over = True
        if self.bar is not None:
            self.bar.close()
            self.bar = None
        if self.after is not None:
            action, self.after = self.after, None
            action()

    def __enter__(self) -> LoadingBar:
        return self

    def __exit__(self, _t: type | None, _e: BaseException | None, _tb: TracebackType | None) -> None:
        self.after = None
        self.finish()


def run_cli(action: Callable[[], None]) -> None:
    """Runs a command: a mistake of the user's is one line and exit code 2, Ctrl-C is 130, a closed pipe is 0."""
    prepare_streams()
    warnings.showwarning = lambda message, *_args, **_kw: click.echo(f"warning: {plain(str(message))}", err=True)
    try:
        action()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (WgpuInferError, click.UsageError) as error:
        fail(error.format_message() if isinstance(error, click.UsageError) else str(error))
    except OSError as error:
        fail(describe(error))
    except MemoryError:
        fail("not enough memory for this model and context; try a smaller --context")
    except KeyboardInterrupt:
        leave_at_once(130)


def prepare_streams() -> None:
    """A closed standard stream becomes the null device; characters its encoding lacks are written as "?"."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (open until the end)
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def describe(error: OSError) -> str:
    if error.filename is None or not error.strerror:
        return str(error)
    hint = HINTS.get(type(error))
    return f"{error.filename or repr(error.filename)}: {error.strerror}" + (f"; {hint}" if hint else "")


def leave_at_once(code: int) -> NoReturn:
    """Ends the process without waiting for the engine's thread, which may be compiling."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def plain(text: str) -> str:
    """The text with control characters and the like spelled out (\\x1b), on one line."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in " ".join(text.split()))


def fail(message: str) -> NoReturn:
    click.echo("error: " + plain(message), err=True)
    sys.exit(2)
