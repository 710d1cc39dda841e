"""The GGUF reader: a model file, or a set of split ones, mapped into memory and validated before it is used.

    with GGUF.open("model.gguf") as gguf:
        gguf.metadata["general.architecture"], gguf.get_int("llama.block_count", minimum=1)
        gguf.tensors["output.weight"].shape, gguf.data("output.weight")

Model files come from strangers. So nothing is allocated, looped over or read by a number of the file before that number
is compared with the bytes that exist (gguf_cursor.py), and every tensor lies inside its file (gguf_tensors.py). A file
that breaks a rule is a ModelFormatError with file, byte offset and reason; a path that is no readable regular file is
an OSError. Versions 2 and 3, little-endian. What the metadata means is not judged here: any architecture can be
inspected.

Parts: gguf_types (tables), gguf_hints (what else the file may be), gguf_shard (one file), gguf_split (sets of files),
gguf_metadata (values), gguf_access (typed getters). Source of the format: ggml/docs/gguf.md and llama.cpp's behaviour.
"""

from __future__ import annotations

import mmap
import os
from types import TracebackType
from typing import Any

import numpy as np

from wgpu_infer.errors import ModelFormatError
from wgpu_infer.formats.gguf_access import TypedAccess
from wgpu_infer.formats.gguf_metadata import Metadata
from wgpu_infer.formats.gguf_shard import Shard
from wgpu_infer.formats.gguf_split import open_others
from wgpu_infer.formats.gguf_tensors import TensorInfo

__all__ = ["GGUF", "Metadata", "TensorInfo"]


class GGUF(TypedAccess):
    """An open model file. Close it, or use it as a context manager; arrays taken from `data` stay valid after that.

    Attributes:
        path: the file as given; of a split model the first.
        version: 2 or 3.
        metadata: a mapping of keys to values (gguf_metadata.py says which Python types); of a split model the first's.
        tensors: TensorInfo by name, in file order, over all files of a split model.
        shards: the open files, one unless the model is split.
    """

    def __init__(self, shards: list[Shard]):
        self.shards = shards
        self.path = shards[0].path
        self.version = shards[0].version
        self.metadata = shards[0].metadata
        self.tensors = {name: info for shard in shards for name, info in shard.tensors.items()}
        self._closed = False

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> GGUF:
        """Opens a file, or a split model by its first file.

        Raises:
            ModelFormatError: the file is not valid GGUF, or is incomplete, or a shard is missing or does not belong.
            OSError: there is no such file, it cannot be read, or it is a folder, a FIFO, a device or a socket.
        """
        first = Shard(os.fsdecode(path))
        try:
            return cls([first, *open_others(first)])
        except BaseException:
            first.close()
            raise

    def tensor(self, name: str) -> TensorInfo:
        """The description of a tensor; ModelFormatError where the file has none of that name."""
        info = self.tensors.get(name)
        if info is None:
            raise ModelFormatError(f"tensor {name!r} is missing", self.path)
        return info

    def tensor_fault(self, reason: str, name: str) -> ModelFormatError:
        """The error for something wrong with a tensor, at its description in the header of the file that holds it."""
        info = self.tensor(name)
        return ModelFormatError(f"tensor {name!r} {reason}", self.shards[info.shard].path, info.info_offset)

    def data(self, name: str) -> np.ndarray:
        """The raw blocks of a tensor: a read-only view (nbytes,) uint8 of the mapped file, not a copy."""
        info = self.tensor(name)
        if self._closed:
            raise ValueError(f"{self.path} is closed")
        return np.frombuffer(self.shards[info.shard].buffer, np.uint8, info.nbytes, info.offset)

    def release(self, name: str) -> None:
        """Gives the memory of a tensor's pages back to the system; they are read from the file again if asked for."""
        info = self.tensor(name)
        buffer = self.shards[info.shard].buffer
        if hasattr(buffer, "madvise") and hasattr(mmap, "MADV_DONTNEED"):
            start = info.offset // mmap.PAGESIZE * mmap.PAGESIZE
            buffer.madvise(mmap.MADV_DONTNEED, start, info.offset + info.nbytes - start)

    def check_unchanged(self) -> None:
        """Raises ModelFormatError if a file was written to since it was opened: its mapped bytes may be half new."""
        for shard in self.shards:
            if shard.is_changed():
                raise ModelFormatError("the file changed on disk since it was opened; load it again", shard.path)

    def close(self) -> None:
        """Closes the files; idempotent. Values of the metadata that were never asked for cannot be decoded any more."""
        self._closed = True
        for shard in self.shards:
            shard.close()

    def __enter__(self) -> GGUF:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Any:
        self.close()
        return None

    def __repr__(self) -> str:
        return f"<GGUF {self.path!r}: {len(self.metadata)} keys, {len(self.tensors)} tensors>"
