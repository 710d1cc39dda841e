"""CPU time of issuing a decode step on WebGPU: the recorded step against the same list through wgpu-py's public API.

    python benches/wgpu_encode.py [--layers N] [--json PATH]

A model of 22 layers (tinyllama's number) with tiny matrices, so that what the device does takes no time from the cores
that are measured. Before every step the device is idle. A step is encoding, finishing and submitting; what counts is
the calling thread's own CPU time, so other programs do not show. No adapter: a notice and status 0.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout, when run as a script

from benches.harness import ALTERNATIONS, Column, Report, Row, Table, alternate, describe, machine, spread
from tools.made_shapes import SHAPES
from tools.make_model import make_model
from wgpu_infer import LLM, DeviceError
from wgpu_infer.backends.webgpu.backend import WebGPUBackend
from wgpu_infer.backends.webgpu.program import Program
from wgpu_infer.models.transformer import Batch

STEPS = 50  # per measurement
TARGET = 0.4  # of the public API's time
RECORDED, PUBLIC = "recorded", "public API"
TABLE = Table(
    (
        Column("path", 10),
        Column("dispatches", 10, "d"),
        Column("CPU ms/step", 11, ".3f"),
        Column("us/dispatch", 11, ".2f"),
        Column("ratio", 6, ".3f"),
        Column("highest", 7, ".3f"),
        Column("target", 6, ".1f"),
    )
)


def compare(llm: LLM, backend: WebGPUBackend, alternations: int) -> list[Row]:
    """A row for either path."""
    engine = llm._engine
    recorded = engine.model.program(Batch(np.zeros((1, 4), np.uint32), 1, "decode"), engine.cache.layers)
    assert isinstance(recorded, Program) and not recorded.eager
    public = Program(backend.runtime, lambda: recorded.dispatches, eager=True)
    contenders = {name: steps_per_s(backend, program) for name, program in ((RECORDED, recorded), (PUBLIC, public))}
    runs = alternate(contenders, alternations)
    ratios = spread(runs.ratios(PUBLIC, RECORDED))  # of rates, so of times the other way round
    rows: list[Row] = []
    for name in contenders:
        row = {"path": name, "dispatches": len(recorded.dispatches), "ms": 1e3 / spread(runs.rates[name]).median}
        own = {"ratio": ratios.median, "highest": ratios.high, "target": TARGET} if name == RECORDED else {}
        rows.append(row | own | {"rates": runs.rates[name]})
    return rows


def steps_per_s(backend: WebGPUBackend, program: Program) -> Callable[[], float]:
    """Steps per second of this thread's CPU time."""

    def measure() -> float:
        spent = 0.0
        for _ in range(STEPS):
            backend.runtime.buffers.wait_idle()
            start = time.thread_time()
            program()
            spent += time.thread_time() - start
        return STEPS / spent

    return measure


def cells(row: Row) -> list[object]:
    own = (row["dispatches"], row["ms"], 1e3 * row["ms"] / row["dispatches"])
    return [row["path"], *own, row.get("ratio"), row.get("highest"), row.get("target")]


@click.command()
@click.option("--layers", default=22, show_default=True)
@click.option("--alternations", default=ALTERNATIONS, show_default=True)
@click.option("--json", "path", type=click.Path(dir_okay=False, path_type=Path))
def main(layers: int, alternations: int, path: Path | None) -> None:
    """Measure what issuing a decode step costs the CPU; status 1 where it misses its target."""
    try:
        backend = WebGPUBackend(checked=False, eager=False)
    except DeviceError as error:
        click.echo(f"nothing measured: {error}")
        return
    head = machine() | {"device": backend.describe(), "layers": layers}
    report = Report(path, head)
    click.echo(f"{describe(head)}\n{head['device']}\n{TABLE.header()}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.gguf"
        make_model(dataclasses.replace(SHAPES["tiny-llama"], layers=layers), "Q4_0", file)
        with LLM(file, device=backend) as llm:
            for row in llm._worker.call(lambda: compare(llm, backend, alternations)):
                report.add(row)
                click.echo(TABLE.line(cells(row)))
    if report.rows[0]["ratio"] > TARGET:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
