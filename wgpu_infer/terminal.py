"""What the commands share at a terminal: a progress bar while loading, and errors as one line with exit code 2."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any

import click

from wgpu_infer.errors import WgpuInferError


class LoadingBar:
    """A bar on standard error from loading to the first token; nothing where standard error is not a terminal."""

    def __init__(self) -> None:
        self.bar: Any = None
        self.after: Callable[[], None] | None = None

    def update(self, done: int, total: int) -> None:
        """Progress of the weights, in bytes; the step that follows compiles kernels."""
        if not sys.stderr.isatty():
            return
        if self.bar is None:
            from tqdm import tqdm

            self.bar = tqdm(total=total, unit="B", unit_scale=True, desc="loading", leave=False, file=sys.stderr)
        self.bar.update(done - self.bar.n)
        if done >= total:
            self.bar.set_description("compiling")

    def then(self, action: Callable[[], None]) -> None:
        """What to do once the bar is gone."""
        self.after = action

    def finish(self) -> None:
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
    warnings.showwarning = lambda message, *_args, **_kw: click.echo(f"warning: {message}", err=True)
    try:
        action()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (WgpuInferError, click.UsageError) as error:
        fail(error.format_message() if isinstance(error, click.UsageError) else str(error))
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error))
    except MemoryError:
        fail("not enough memory for this model and context; try a smaller --context")
    except KeyboardInterrupt:
        sys.exit(130)


def fail(message: str) -> None:
    click.echo("error: " + " ".join(message.split()), err=True)
    sys.exit(2)
