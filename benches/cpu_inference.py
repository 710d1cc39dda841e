"""Our CPU backend against llama.cpp on the same files, in one run and alternating: `make bench-cpu-inference`.

    python benches/cpu_inference.py [--model SHAPE:FORMAT]... [--rows ROW]... [--threads N]... [--quick] [--json PATH]

End to end on both sides: norms, attention, output layer and greedy sampling (our_engine.py and llama_cpp_child.py say
what the clocks hold). Decode rows run `--tokens` steps after a prompt of 1 or 1,024 tokens, prefill rows time a prompt
up to its first answered token, batch-8 decodes 8 sequences at once (all their tokens count). R is the rate at which two
threads (more for rows with more) read the loaded weights from memory, measured around every alternation; a decode's
share is the bytes of weights it went through per second over R. `others` are the cores that other programs kept busy
meanwhile: above 0.1 a ratio says little. `same` counts the leading tokens on which both agree: random weights make near
ties, so a few differ sooner or later, but 0 everywhere would mean that two different models were compared.
cpu_targets.py holds the targets. No llama-cpp-python: a notice and status 0; one that was built without
a CPU feature that our kernels use: refused, status 2.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout, when run as a script

from benches.comparison import PEER, Settings, compare_model
from benches.cpu_targets import ROWS, TARGETS
from benches.harness import ALTERNATIONS, Column, Report, Row, Table, describe, machine, usable_cores
from benches.llama_cpp_peer import build_info, host_features, is_installed, missing_features
from benches.model_files import model_files, split_model
from benches.neighbours import TOO_MUCH

DEFAULT_MODELS = tuple(TARGETS)
TOKENS = 64
QUICK_ROWS = ("decode-0", "prefill-128")
QUICK_TOKENS = 16
TABLE = Table(
    (
        Column("model", 22),
        Column("row", 11),
        Column("threads", 7, "d"),
        Column("ours tok/s", 10, ".1f"),
        Column("llama.cpp", 9, ".1f"),
        Column("ratio", 5, ".2f"),
        Column("lowest", 6, ".2f"),
        Column("highest", 7, ".2f"),
        Column("target", 6, ".2f"),
        Column("GB/s", 5, ".1f"),
        Column("R GB/s", 6, ".1f"),
        Column("share", 5, ".0%"),
        Column("others", 6, ".2f"),
        Column("same", 7),
        Column("verdict", 13),
    )
)


def refuse_slow_build(system_info: str) -> None:
    """Ends the run where llama.cpp was built with less than our kernels use here."""
    if missing := missing_features(system_info, host_features()):
        click.echo(
            f"Refused: this llama-cpp-python was built without {', '.join(missing)}, which this machine has and our "
            "kernels use. Build it here: pip install --force-reinstall --no-binary llama-cpp-python llama-cpp-python",
            err=True,
        )
        sys.exit(2)


def show(row: Row) -> str:
    ratio = row["ratio"]
    return TABLE.line(
        (
            *(row["model"], row["row"], row["threads"], row["ours"], row["peer"]),
            *(ratio["median"], ratio["low"], ratio["high"], row["target"]),
            *(row["weight_gb_s"], row["R"], row["share"], row["others"], row["same"], row["verdict"]),
        )
    )


def run(models: tuple[str, ...], folder: Path | None, settings: Settings, output: Path | None) -> None:
    """Measures, prints and writes row by row."""
    about, peer = machine(), build_info()
    report = Report(output, {"bench": "cpu_inference", "machine": about, "peer": peer, "settings": asdict(settings)})
    click.echo(describe(about))
    click.echo(f"{PEER} (llama-cpp-python {peer['version']}): {peer['system_info']}")
    refuse_slow_build(peer["system_info"])
    click.echo(TABLE.header())
    with model_files(folder) as files:
        for model in models:
            for row in compare_model(model, files, settings):
                report.add(row)
                click.echo(show(row))
    conclude(report.rows)


def conclude(rows: list[Row]) -> None:
    asked = [row for row in rows if row["verdict"]]
    short = [row for row in asked if row["verdict"] == "short"]
    click.echo(f"{len(asked) - len(short)} of {len(asked)} targets reached")
    if busy := [row for row in rows if (row["others"] or 0) > TOO_MUCH]:
        click.echo(
            f"{len(busy)} of {len(rows)} rows were measured beside other work: run those again on a quiet machine"
        )


def check_model(_context: click.Context, _option: click.Parameter, models: tuple[str, ...]) -> tuple[str, ...]:
    for model in models:
        try:
            split_model(model)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
    return models


@click.command()
@click.option("--model", "models", multiple=True, callback=check_model, help="SHAPE:FORMAT; default: all with targets.")
@click.option("--rows", multiple=True, type=click.Choice(list(ROWS)), help="Default: all.")
@click.option("--threads", multiple=True, type=click.IntRange(1), help="Default: 1 and 2.")
@click.option("--alternations", default=ALTERNATIONS, show_default=True, type=click.IntRange(1))
@click.option(
    "--tokens", default=TOKENS, show_default=True, type=click.IntRange(1), help="Decode steps that are timed."
)
@click.option("--quick", is_flag=True, help="One model, two rows, two threads, 16 tokens, where nothing else is asked.")
@click.option("--models", "folder", type=click.Path(file_okay=False, path_type=Path), help="Keep model files here.")
@click.option("--json", "output", type=click.Path(dir_okay=False, path_type=Path), help="Write every measurement here.")
def main(
    models: tuple[str, ...],
    rows: tuple[str, ...],
    threads: tuple[int, ...],
    alternations: int,
    tokens: int,
    quick: bool,
    folder: Path | None,
    output: Path | None,
) -> None:
    """Measure the CPU path and llama.cpp in turn, and print their ratio."""
    if not is_installed():
        click.echo(
            "Skipped: llama-cpp-python is not installed (pip install wgpu-infer[peer]), nothing to compare with."
        )
        return
    if quick:
        models, rows, threads = models or DEFAULT_MODELS[:1], rows or QUICK_ROWS, threads or (usable_threads()[-1],)
        tokens = min(tokens, QUICK_TOKENS)
    settings = Settings(rows or tuple(ROWS), threads or usable_threads(), alternations, tokens)
    run(models or DEFAULT_MODELS, folder, settings, output)


def usable_threads() -> tuple[int, ...]:
    return tuple(count for count in (1, 2) if count <= usable_cores())


if __name__ == "__main__":
    main()
