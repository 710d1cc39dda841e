"""Compiled kernels on disk: one file per kernel and signature, verified before it is trusted.

numba's own disk cache keeps an index beside its data files; two processes that write at once can pair the index of
one with the data of the other, which runs the wrong machine code, and a damaged file makes every call raise. Here the
file's name and its SHA-256 both cover the whole key (function, argument types, CPU, options), files appear
atomically, and whatever does not verify is a miss: the kernel is compiled again. The folder's name covers the
versions of Python, numba, numpy and llvmlite, the CPU and all kernel sources, because numba would notice a change in
a kernel's own file only.

numba names machine code by the function's name and a number counted from 1 in every process, and the linker merges
what has one name. So that a kernel from disk is never merged with another one compiled here, this process counts from
a random number.

The files hold pickles, so whoever can write them runs code: the folder is ours alone (0700) or it is not used.
Nothing here is fatal; without a usable folder kernels are compiled in every process, and a warning says why.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import logging
import os
import pickle
import platform
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numba
from numba.core.bytecode import FunctionIdentity
from numba.core.compiler import CompileResult
from numba.core.registry import cpu_target
from numba.core.serialize import dumps

from cpu_fallback.folders import base_folder

config: Any = numba.config  # its attributes come from the environment
LOG = logging.getLogger("wgpu_infer.kernels")
DIGEST_BYTES = 32
KEPT_FOLDERS = 4  # of other versions; older ones are deleted when a new one is made
OPTIONS = ("BOUNDSCHECK", "OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "DEBUGINFO_DEFAULT")  # they change the machine code


NUMBERED = hasattr(FunctionIdentity, "_unique_ids")  # where not, nothing is taken from disk
if NUMBERED:
    FunctionIdentity._unique_ids = itertools.count(secrets.randbits(60))


def folder_name() -> str:
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    modules = "-".join(name + metadata.version(name) for name in ("numba", "numpy", "llvmlite"))
    return f"py{platform.python_version()}-{modules}-{cpu_name()}-{digest.hexdigest()[:16]}"


def cpu_name() -> str:
    """LLVM's name of the processor that kernels are compiled for."""
    return cpu_target.target_context.codegen().magic_tuple()[1]


@functools.cache
def folder() -> Path | None:
    """The cache folder, made if need be; None (and one warning) where there is none that is safe to use."""
    if config.DISABLE_JIT or config.JIT_COVERAGE or not NUMBERED:  # coverage counts a line when it is compiled
        return None
    try:
        base = base_folder()
        if base is None:
            raise OSError("this user has no home folder")
        path = base / folder_name()
        if not path.exists():
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            prune(path)
        check_private(path)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        LOG.warning("kernels are compiled anew in every run, the kernel cache cannot be used: %s", error)
        return None
    return path


def check_private(path: Path) -> None:
    if sys.platform == "win32":  # the folder lies in the user's profile
        return
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise OSError(f"{path} is not a folder that only you can write")


def prune(new: Path) -> None:
    """Deletes all but the latest folders of other versions; a process that still uses one just misses."""
    others = [each for each in new.parent.iterdir() if each != new and each.name.startswith("py")]
    for old in sorted(others, key=lambda each: each.lstat().st_mtime, reverse=True)[KEPT_FOLDERS:]:
        shutil.rmtree(old, ignore_errors=True)


class KernelCache:
    """Takes the place of a numba dispatcher's cache; the methods are those a dispatcher calls."""

    def __init__(self, function: Callable, name: str | None):
        if name is None and function.__closure__:
            raise TypeError(f"{function.__name__} has a closure: it needs a name that says what is in it")
        self._name = name or f"{function.__module__}.{function.__name__}"
        self._enabled = True

    @property
    def cache_path(self) -> str | None:
        return str(folder()) if folder() else None

    def enable(self) -> None:
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def flush(self) -> None:
        """A dispatcher calls this before it recompiles: from here on nothing is taken from disk."""
        self.disable()

    def load_overload(self, signature: Any, target: Any) -> CompileResult | None:
        target.refresh()
        key = self._key(signature, target.codegen())
        path = self._path(key)
        if path is None:
            return None
        try:
            payload = unseal(path.read_bytes(), key)
            return CompileResult._rebuild(target, *pickle.loads(payload))
        except FileNotFoundError:
            return None
        except Exception as error:
            LOG.warning("compiling %s again, its cached form is unusable: %r", self._name, error)
            return None

    def save_overload(self, signature: Any, result: Any) -> None:
        key = self._key(signature, result.codegen)
        path = self._path(key)
        if path is None or result.lifted or result.library.has_dynamic_globals:
            return
        try:
            write_atomically(path, seal(dumps(result._reduce()), key))
        except OSError as error:
            LOG.warning("cannot keep the compiled %s: %s", self._name, error)

    def _key(self, signature: Any, codegen: Any) -> bytes:
        options = [getattr(config, name, None) for name in OPTIONS]
        return repr((self._name, signature, codegen.magic_tuple(), options)).encode()

    def _path(self, key: bytes) -> Path | None:
        where = folder() if self._enabled else None
        return where / f"{self._name[:80]}-{hashlib.sha256(key).hexdigest()[:24]}.kernel" if where else None


def seal(payload: bytes, key: bytes) -> bytes:
    return hashlib.sha256(key + payload).digest() + payload


def unseal(data: bytes, key: bytes) -> bytes:
    payload = data[DIGEST_BYTES:]
    if hashlib.sha256(key + payload).digest() != data[:DIGEST_BYTES]:
        raise ValueError("the file is damaged or belongs to another kernel")
    return payload


def write_atomically(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def attach(dispatcher: Any, name: str | None = None) -> Any:
    """Gives a numba dispatcher this cache; a plain function (NUMBA_DISABLE_JIT) or an unknown numba stays as it is."""
    if hasattr(dispatcher, "_cache") and hasattr(CompileResult, "_rebuild"):
        dispatcher._cache = KernelCache(dispatcher.py_func, name)
    return dispatcher
