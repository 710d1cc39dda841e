"""What a shader is bound to: ranges of buffers, and textures of weights. Both are written as a line of bytes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

TEXEL = 16  # bytes
WIDTH = 1024  # texels of a row, as in shaders/shared/codes_texture.wgsl


class Resource:
    """`size` bytes of wgpu's buffer or texture `handle`. `serial` is never used twice."""

    _serials = itertools.count()

    def __init__(self, handle: Any, size: int):
        self.handle, self.size = handle, size
        self.serial = next(self._serials)

    def binding(self) -> Any:
        """What a bind group holds."""
        raise NotImplementedError

    def write(self, queue: Any, raw: np.ndarray, offset: int) -> None:
        """Bytes to a byte offset, with the next submission."""
        raise NotImplementedError


class GpuBuffer(Resource):
    """Bytes from `offset` on."""

    def __init__(self, handle: Any, size: int, offset: int = 0):
        super().__init__(handle, size)
        self.offset = offset

    def binding(self) -> Any:
        return {"buffer": self.handle, "offset": self.offset, "size": self.size}

    def write(self, queue: Any, raw: np.ndarray, offset: int) -> None:
        queue.write_buffer(self.handle, self.offset + offset, raw)


class GpuTexture(Resource):
    """Texels of 16 bytes, WIDTH a row, one row after the other."""

    def __init__(self, handle: Any, size: int):
        super().__init__(handle, size)
        self._view = handle.create_view()

    def binding(self) -> Any:
        return self._view

    def write(self, queue: Any, raw: np.ndarray, offset: int) -> None:
        """`offset` is that of a texel; a texel that is not whole is filled up with zeros."""
        texels = np.pad(raw, (0, -raw.size % TEXEL)).reshape(-1, TEXEL)
        first = offset // TEXEL
        for x, y, width, height in rectangles(first, first + len(texels)):
            start = y * WIDTH + x - first
            queue.write_texture(
                {"texture": self.handle, "origin": (x, y, 0)},
                texels[start : start + width * height],
                {"bytes_per_row": width * TEXEL, "rows_per_image": height},
                (width, height, 1),
            )


def texture_rows(nbytes: int) -> int:
    return max(1, -(-nbytes // (WIDTH * TEXEL)))


def rectangles(start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Texels start..end as (x, y, width, height): the rest of a row, whole rows, the beginning of one."""
    while start < end:
        y, x = divmod(start, WIDTH)
        height = (end - start) // WIDTH if x == 0 else 0
        width = WIDTH if height else min(WIDTH - x, end - start)
        yield x, y, width, max(1, height)
        start += width * max(1, height)
