"""Our WebGPU backend against llama.cpp on the CPU with the same files, in turn: `make bench-wgpu`.

    python benches/wgpu_inference.py [--model SHAPE:FORMAT]... [--rows ROW]... [--adapter ADAPTER] [--json PATH]

End to end on both sides, as in cpu_inference.py. On a software adapter both use the same cores, so the ratio says what
the way through WebGPU costs; wgpu_targets.py holds the targets. `CPU ms` is our process's CPU time per token, with a
software adapter's threads and a decode's prompt in it: other programs change it less than the rate. `dispatches` are
those of one layer of a decode step. `others` are the cores that other programs kept busy meanwhile: above 0.1 a ratio
says little. No adapter: a notice and status 0. No llama-cpp-python: our figures alone.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout, when run as a script

from benches.comparison import OURS, PEER, count_same
from benches.cpu_inference import check_model
from benches.harness import ALTERNATIONS, Column, Report, Row, Table, alternate, describe, machine, spread
from benches.llama_cpp_peer import LlamaCppPeer, build_info, is_installed
from benches.model_files import ModelFiles, model_files
from benches.neighbours import TOO_MUCH, Neighbours
from benches.our_engine import make_prompts, run_ours, weight_bytes
from benches.wgpu_targets import DEFAULT_ROWS, MOST_DISPATCHES, PEER_THREADS, ROWS, TARGETS, target_of
from wgpu_infer import LLM
from wgpu_infer.backends.webgpu.adapters import list_adapters
from wgpu_infer.errors import DeviceError

TOKENS = 32
TABLE = Table(
    (
        Column("model", 22),
        Column("row", 11),
        Column("ours tok/s", 10, ".1f"),
        Column("llama.cpp", 9, ".1f"),
        Column("ratio", 6, ".3f"),
        Column("lowest", 6, ".3f"),
        Column("highest", 7, ".3f"),
        Column("target", 6, ".3f"),
        Column("GB/s", 5, ".1f"),
        Column("CPU ms", 6, ".1f"),
        Column("dispatches", 10, "d"),
        Column("others", 6, ".2f"),
        Column("same", 7),
        Column("verdict", 7),
    )
)


@dataclass(frozen=True)
class Settings:
    rows: tuple[str, ...]
    adapter: str | None
    threads: int
    alternations: int
    tokens: int


def compare_model(model: str, files: ModelFiles, settings: Settings) -> Iterator[Row]:
    """The rows of one model; without llama-cpp-python they hold our figures alone."""
    path = files.path(model)
    with contextlib.ExitStack() as stack:
        peer = stack.enter_context(LlamaCppPeer(path)) if is_installed() else None
        llm = stack.enter_context(LLM(path, device="webgpu", adapter=settings.adapter))
        click.echo(f"{OURS}: {llm.device}", err=True)
        dispatches = dispatches_per_layer(llm)
        for row in settings.rows:
            if ROWS[row].prompt + settings.tokens >= llm.context:
                click.echo(f"left out, the model's context is {llm.context}: {row}", err=True)
                continue
            yield compare_row(model, row, llm, peer, settings) | {"dispatches": dispatches, "device": llm.device}
    files.done(path)


def dispatches_per_layer(llm: LLM) -> int:
    with llm.profile() as profile:
        pass
    return profile.layer_dispatches or 0


def compare_row(model: str, row: str, llm: LLM, peer: LlamaCppPeer | None, settings: Settings) -> Row:
    """One line of the table as data; every single measurement is in it."""
    work = ROWS[row]
    prompts = make_prompts(work, llm.config.vocab)
    count = work.sequences * settings.tokens if work.phase == "decode" else work.sequences * work.prompt
    answers: dict[str, list[list[int]]] = {}

    cpu_ms: list[float] = []

    def ours() -> float:
        begun = time.process_time()
        timing = run_ours(llm, work, prompts, settings.tokens)
        cpu_ms.append(1e3 * (time.process_time() - begun) / count)
        answers[OURS] = timing.tokens
        return count / timing.seconds

    contenders = {OURS: ours}
    if peer is not None:
        peer.prepare(prompts, settings.tokens, settings.threads)
        contenders[PEER] = lambda: theirs(peer, work.phase, count, answers)
    neighbours = Neighbours([peer.pid] if peer else [])
    runs = alternate(contenders, settings.alternations)
    others = neighbours.cores()
    rate = spread(runs.rates[OURS]).median
    per_token = weight_bytes(llm) / work.sequences / 1e9
    result: Row = {"model": model, "row": row, "ours": rate, "others": others, "rates": runs.rates}
    result["cpu_ms"] = spread(cpu_ms).median
    result["weight_gb_s"] = rate * per_token if work.phase == "decode" else None
    if peer is not None:
        result["peer"] = spread(runs.rates[PEER]).median
        result["ratio"] = asdict(spread(runs.ratios(OURS, PEER)))
        result["same"] = count_same(answers[OURS], answers[PEER])
    return result


def theirs(peer: LlamaCppPeer, phase: str, count: int, answers: dict[str, list[list[int]]]) -> float:
    seconds, answers[PEER] = peer.run(phase)
    return count / seconds


def judge(row: Row) -> str:
    """PASS, short, or nothing where nothing is asked or could be compared."""
    target = target_of(row["model"], row["row"])
    if target is None or "ratio" not in row:
        return ""
    return "PASS" if row["ratio"]["median"] >= target else "short"


def show(row: Row) -> str:
    ratio = row.get("ratio") or dict.fromkeys(("median", "low", "high"))
    return TABLE.line(
        (
            *(row["model"], row["row"], row["ours"], row.get("peer")),
            *(ratio["median"], ratio["low"], ratio["high"], target_of(row["model"], row["row"])),
            *(row["weight_gb_s"], row["cpu_ms"], row["dispatches"], row["others"], row.get("same", ""), judge(row)),
        )
    )


def run(models: tuple[str, ...], folder: Path | None, settings: Settings, output: Path | None) -> None:
    """Measures, prints and writes row by row."""
    about = machine()
    peer = build_info() if is_installed() else None
    report = Report(output, {"bench": "wgpu_inference", "machine": about, "peer": peer, "settings": asdict(settings)})
    click.echo(describe(about))
    if peer:
        click.echo(f"{PEER} on {settings.threads} CPU threads (llama-cpp-python {peer['version']})")
    else:
        click.echo("llama-cpp-python is not installed (pip install wgpu-infer[peer]): our figures alone")
    click.echo(TABLE.header())
    with model_files(folder) as files:
        for model in models:
            for row in compare_model(model, files, settings):
                report.add(row | {"target": target_of(row["model"], row["row"]), "verdict": judge(row)})
                click.echo(show(row))
    conclude(report.rows)


def conclude(rows: list[Row]) -> None:
    asked = [row for row in rows if row["verdict"]]
    reached = [row for row in asked if row["verdict"] == "PASS"]
    click.echo(f"{len(reached)} of {len(asked)} targets reached")
    most = max((row["dispatches"] for row in rows), default=0)
    click.echo(f"dispatches per layer: {most}, at most {MOST_DISPATCHES} are wanted")
    if any((row["others"] or 0) > TOO_MUCH for row in rows):
        click.echo("some rows were measured beside other work: run those again on a quiet machine")


def find_problem() -> str | None:
    """Why nothing can be measured here, or None."""
    try:
        found = list_adapters()
    except DeviceError as error:
        return str(error)
    return None if found else "no WebGPU adapter was found"


@click.command()
@click.option("--model", "models", multiple=True, callback=check_model, help="SHAPE:FORMAT; default: all with targets.")
@click.option("--rows", multiple=True, type=click.Choice(list(ROWS)), help=f"Default: {', '.join(DEFAULT_ROWS)}.")
@click.option("--adapter", help="Its number in `wgpu-infer doctor`, or part of its name; default: the best one.")
@click.option("--threads", default=PEER_THREADS, show_default=True, type=click.IntRange(1), help="Of llama.cpp.")
@click.option("--alternations", default=ALTERNATIONS, show_default=True, type=click.IntRange(1))
@click.option("--tokens", default=TOKENS, show_default=True, type=click.IntRange(1), help="Decode steps timed.")
@click.option("--models", "folder", type=click.Path(file_okay=False, path_type=Path), help="Keep model files here.")
@click.option("--json", "output", type=click.Path(dir_okay=False, path_type=Path), help="Write every measurement here.")
def main(
    models: tuple[str, ...],
    rows: tuple[str, ...],
    adapter: str | None,
    threads: int,
    alternations: int,
    tokens: int,
    folder: Path | None,
    output: Path | None,
) -> None:
    """Measure the WebGPU path and llama.cpp's CPU path in turn, and print their ratio."""
    if problem := find_problem():
        click.echo(f"Skipped: {problem}; nothing can be measured.")
        return
    settings = Settings(rows or DEFAULT_ROWS, adapter, threads, alternations, tokens)
    run(models or tuple(TARGETS), folder, settings, output)


if __name__ == "__main__":
    main()
