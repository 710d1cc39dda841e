"""Uploading a weight: packed a few rows at a time, in as many pieces as the device's binding limit asks for."""

from __future__ import annotations

from dataclasses import dataclass

from wgpu_infer.backends.webgpu.pack import pack, row_code_bytes, row_scale_bytes
from wgpu_infer.backends.webgpu.resources import TEXEL, GpuBuffer, Resource
from wgpu_infer.backends.webgpu.runtime import Runtime
from wgpu_infer.contracts.host import HostRows
from wgpu_infer.errors import OutOfMemoryError

UPLOAD_BYTES = 8 << 20  # of codes packed at a time


@dataclass(frozen=True, eq=False)
class Piece:
    """Rows row0 .. row0 + rows of a weight. `scales` is `codes` again where the format keeps none apart."""

    codes: Resource
    scales: Resource
    row0: int
    rows: int


def upload(runtime: Runtime, host: HostRows, max_binding: int, label: str) -> tuple[Piece, ...]:
    """The weight's pieces, each at most `max_binding` bytes of codes."""
    row_bytes = row_code_bytes(host.format, host.cols)
    if row_bytes > max_binding:
        raise OutOfMemoryError(
            f"{label or 'a weight'}: one row takes {row_bytes} bytes, more than can be bound at once"
        )
    step = max_binding // row_bytes
    return tuple(
        upload_piece(runtime, host, row0, min(step, host.rows - row0), label) for row0 in range(0, host.rows, step)
    )


def upload_piece(runtime: Runtime, host: HostRows, row0: int, rows: int, label: str) -> Piece:
    code_bytes, scale_bytes = row_code_bytes(host.format, host.cols), row_scale_bytes(host.format, host.cols)
    codes = runtime.create_weights(rows * code_bytes, label)
    scales = runtime.create_weights(rows * scale_bytes, label) if scale_bytes else codes
    step = max(TEXEL, UPLOAD_BYTES // code_bytes // TEXEL * TEXEL)  # rows, so that a chunk's scales begin with a texel
    for start in range(0, rows, step):
        part = pack(host.slice_rows(row0 + start, row0 + min(start + step, rows)))
        runtime.buffers.write(codes, part.codes, start * code_bytes)
        if scale_bytes:
            runtime.buffers.write(scales, part.scales, start * scale_bytes)
    return Piece(codes, scales, row0, rows)


def cut(piece: Piece, rows: range, fmt: str, cols: int) -> Piece:
    """Some of a piece's rows, where they lie; a binding can begin at the first of them."""
    assert isinstance(piece.codes, GpuBuffer) and isinstance(piece.scales, GpuBuffer)
    codes = cut_buffer(piece.codes, rows, row_code_bytes(fmt, cols))
    scale_bytes = row_scale_bytes(fmt, cols)
    scales = cut_buffer(piece.scales, rows, scale_bytes) if scale_bytes else codes
    return Piece(codes, scales, piece.row0 + rows.start, len(rows))


def cut_buffer(buffer: GpuBuffer, rows: range, row_bytes: int) -> GpuBuffer:
    return GpuBuffer(buffer.handle, -(-len(rows) * row_bytes // 16) * 16, buffer.offset + rows.start * row_bytes)
