"""One model through both engines: the rows of a comparison with llama.cpp as data, every measurement in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import click

from benches.cpu_targets import ROWS, Workload, judge, target_of
from benches.harness import Row, Runs, alternate, spread, usable_cores
from benches.llama_cpp_peer import NAME as PEER
from benches.llama_cpp_peer import LlamaCppPeer
from benches.model_files import ModelFiles
from benches.neighbours import Neighbours
from benches.our_engine import make_prompts, run_ours, weight_bytes
from benches.read_rate import ReadRate, weight_arrays
from wgpu_infer import LLM

OURS = "wgpu_infer"


@dataclass(frozen=True)
class Settings:
    rows: tuple[str, ...]
    threads: tuple[int, ...]
    alternations: int
    tokens: int


def compare_model(model: str, files: ModelFiles, settings: Settings) -> Iterator[Row]:
    """The rows of one model. Ours is loaded anew for every number of threads, llama.cpp's serves them all."""
    path = files.path(model)
    with LlamaCppPeer(path) as peer:
        for threads in settings.threads:
            with LLM(path, device="cpu", threads=threads) as llm:
                click.echo(f"{OURS}: {llm.device}", err=True)
                probe = make_probe(llm, threads)
                for row in possible_rows(llm, settings):
                    yield compare_row(model, row, threads, llm, peer, probe, settings)
    files.done(path)


def make_probe(llm: LLM, threads: int) -> ReadRate:
    """R is measured with two threads, or as many as the row has, on as many cores as there are."""
    probe = ReadRate(weight_arrays(llm), min(max(2, threads), usable_cores()))
    if probe.is_cached:
        click.echo(f"the weights are {probe.nbytes >> 20} MiB: R may be the rate of a cache", err=True)
    return probe


def possible_rows(llm: LLM, settings: Settings) -> list[str]:
    rows = [row for row in settings.rows if ROWS[row].prompt + settings.tokens < llm.context]
    if left_out := [row for row in settings.rows if row not in rows]:
        click.echo(f"left out, the model's context is {llm.context}: {', '.join(left_out)}", err=True)
    return rows


def compare_row(
    model: str, row: str, threads: int, llm: LLM, peer: LlamaCppPeer, probe: ReadRate, settings: Settings
) -> Row:
    """One line of the table as data; every single measurement is in it."""
    work = ROWS[row]
    prompts = make_prompts(work, llm.config.vocab)
    count = work.sequences * settings.tokens if work.phase == "decode" else work.prompt
    answers: dict[str, list[list[int]]] = {}
    peer.prepare(prompts, settings.tokens, threads)

    def ours() -> float:
        timing = run_ours(llm, work, prompts, settings.tokens)
        answers[OURS] = timing.tokens
        return count / timing.seconds

    def theirs() -> float:
        seconds, answers[PEER] = peer.run(work.phase)
        return count / seconds

    neighbours = Neighbours([peer.pid])
    runs = alternate({OURS: ours, PEER: theirs}, settings.alternations, probe=probe)
    others = neighbours.cores()
    outcome = summarise(runs, work, weight_bytes(llm), target_of(model, row, threads))
    verdict = judge(row, threads, outcome["target"], outcome["ratio"]["median"], outcome["share"], outcome["R"])
    same = count_same(answers[OURS], answers[PEER])
    return {
        "model": model,
        "row": row,
        "threads": threads,
        "others": others,
        "same": same,
        "verdict": verdict,
    } | outcome


def summarise(runs: Runs, work: Workload, nbytes: int, target: float | None) -> Row:
    """Rates in tokens/s, R and weights in GB/s; the share is None for a prefill, whose limit is not the memory."""
    per_token = nbytes / work.sequences / 1e9
    is_decode = work.phase == "decode"
    ours = spread(runs.rates[OURS]).median
    return {
        "ours": ours,
        "peer": spread(runs.rates[PEER]).median,
        "ratio": asdict(spread(runs.ratios(OURS, PEER))),
        "target": target,
        "weight_gb_s": ours * per_token if is_decode else None,
        "R": spread(runs.probes).median,
        "share": spread(runs.shares(OURS, per_token)).median if is_decode else None,
        "rates": runs.rates,
        "R_each": runs.probes,
    }


def count_same(ours: list[list[int]], theirs: list[list[int]]) -> str:
    """Leading tokens on which both agree, of all: "5/64", summed over the sequences."""
    same = 0
    for own, other in zip(ours, theirs, strict=True):
        differ = [a != b for a, b in zip(own, other, strict=True)]
        same += differ.index(True) if any(differ) else len(own)
    return f"{same}/{sum(map(len, ours))}"
