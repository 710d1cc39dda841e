"""The CPU path's peak memory while it loads a model and answers a few tokens: `make bench-cpu-memory`.

    python benches/cpu_memory.py [--row NAME]... [--models DIR] [--json PATH]

Every run is a process of its own. The base is the same run on a file of one layer and the same shape; it runs twice and
the second counts: compiled kernels are on disk by then. Limits are of the whole model's weights and of the KV cache of
one full context, as the claim is worded, although the base holds a layer, the embedding and the output too. The table's
last column leaves those out on both sides: growth beyond the base over the weights that the one-layer file lacks. Pages
of the KV cache that hold nothing yet are not resident: a full context adds up to the KV column. MB is 10⁶ bytes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout, when run as a script

from benches.harness import Column, Report, Row, Table, describe, machine
from benches.model_files import ModelFiles, model_files

PROMPT = 16
TOKENS = 8
MB = 10**6
TABLE = Table(
    (
        Column("row", 18),
        Column("weights MB", 10, ".0f"),
        Column("KV MB", 5, ".0f"),
        Column("peak MB", 7, ".0f"),
        Column("base MB", 7, ".0f"),
        Column("judged", 11),
        Column("MB", 6, ".0f"),
        Column("limit MB", 8, ".0f"),
        Column("verdict", 7),
        Column("growth/weights", 14, ".2f"),
    )
)


@dataclass(frozen=True)
class Limit:
    """Bytes allowed: weights × `weights` + KV cache × `kv` + `extra`; of the whole process, or beyond its base."""

    model: str  # SHAPE:FORMAT
    context: int
    weights: float = 0.0
    kv: float = 0.0
    extra: int = 0
    is_total: bool = False

    def nbytes(self, weights: int, kv: int) -> float:
        return self.weights * weights + self.kv * kv + self.extra


LIMITS: dict[str, Limit] = {
    "tinyllama-Q4_0": Limit("tinyllama-1.1b:Q4_0", 2048, weights=1.15, kv=1.0),
    "llama-2-7b-256": Limit("llama-2-7b:Q4_0", 256, weights=1.0, extra=512 * MB),
    "llama-2-7b-2048": Limit("llama-2-7b:Q4_0", 2048, extra=8000 * MB, is_total=True),
}


@dataclass(frozen=True)
class Peak:
    """Of one run: bytes resident at most, bytes of the file's weights, bytes of the KV cache of one full context."""

    resident: int
    weights: int
    kv: int


def measure(path: Path, context: int) -> Peak:
    """Runs this file as a child on a model."""
    command = [sys.executable, __file__, "--child", str(path), str(context)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"the run on {path.name} ended with status {done.returncode}")
    return Peak(**json.loads(done.stdout.splitlines()[-1]))


def run_child(path: str, context: int) -> None:
    """Loads, answers, prints its Peak as JSON."""
    from wgpu_infer import LLM, SamplingParams

    params = SamplingParams(max_tokens=TOKENS, temperature=0.0, ignore_eos=True)
    with LLM(path, device="cpu", context=context) as llm:
        llm.generate(list(range(100, 100 + PROMPT)), params)
        weights = sum(tensor.nbytes for tensor in llm.gguf.tensors.values())
        kv = 2 * 2 * llm.config.layers * llm.config.kv_dim * context  # K and V of two bytes
    print(json.dumps({"resident": peak_bytes(), "weights": weights, "kv": kv}))


def peak_bytes() -> int:
    """Most bytes this process had resident. Linux: its own high-water mark, as ru_maxrss starts with its parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def measure_row(name: str, files: ModelFiles) -> Row:
    limit = LIMITS[name]
    one_layer = files.path(limit.model, layers=1)
    measure(one_layer, limit.context)
    base = measure(one_layer, limit.context)
    full = measure(files.path(limit.model), limit.context)
    return summarise(name, limit, base, full)


def summarise(name: str, limit: Limit, base: Peak, full: Peak) -> Row:
    """One line of the table as data, in bytes."""
    judged = full.resident - (0 if limit.is_total else base.resident)
    allowed = limit.nbytes(full.weights, full.kv)
    return {
        "row": name,
        "weights": full.weights,
        "kv": full.kv,
        "peak": full.resident,
        "base": base.resident,
        "judged": "total" if limit.is_total else "beyond base",
        "bytes": judged,
        "limit": allowed,
        "verdict": "PASS" if judged <= allowed else "short",
        "growth": (full.resident - base.resident) / (full.weights - base.weights),
    }


def show(row: Row) -> str:
    sizes = {name: row[name] / MB for name in ("weights", "kv", "peak", "base", "bytes", "limit")}
    return TABLE.line(tuple((row | sizes).values()))


@click.command()
@click.option("--row", "rows", multiple=True, type=click.Choice(list(LIMITS)), help="Default: all.")
@click.option("--models", "folder", type=click.Path(file_okay=False, path_type=Path), help="Keep model files here.")
@click.option("--json", "output", type=click.Path(dir_okay=False, path_type=Path), help="Write the results here.")
def main(rows: tuple[str, ...], folder: Path | None, output: Path | None) -> None:
    """Measure the CPU path's peak memory against its limits."""
    about = machine()
    report = Report(output, {"bench": "cpu_memory", "machine": about})
    click.echo(describe(about))
    click.echo(TABLE.header())
    with model_files(folder) as files:
        for name in rows or LIMITS:
            report.add(measure_row(name, files))
            click.echo(show(report.rows[-1]))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        run_child(sys.argv[2], int(sys.argv[3]))
    else:
        main()
