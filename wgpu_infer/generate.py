"""python -m wgpu_infer.generate: a prompt in, text out. Parses, calls the library, prints."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import click

from wgpu_infer.contracts.host import KV_DTYPES
from wgpu_infer.llm import DEVICES, LLM, Generation, GenerationStream
from wgpu_infer.sampling.params import SamplingParams
from wgpu_infer.terminal import LoadingBar, run_cli


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.argument("prompt", default="")
@click.option("--model", metavar="FILE", help="GGUF file; default: the story model that comes with the package.")
@click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True)
@click.option("--adapter", metavar="NAME", help="WebGPU adapter: its number in `doctor`, or part of its name.")
@click.option("--threads", type=int, help="CPU threads; default: one per physical core.")
@click.option("--max-tokens", type=int, help="Default: until the text ends or the context is full.")
@click.option("--temperature", type=float, default=0.8, show_default=True, help="0 is greedy.")
@click.option("--top-k", type=int, default=40, show_default=True, help="0 keeps all.")
@click.option("--top-p", type=float, default=0.95, show_default=True)
@click.option("--min-p", type=float, default=0.05, show_default=True)
@click.option("--repeat-penalty", type=float, default=1.0, show_default=True)
@click.option("--presence-penalty", type=float, default=0.0, show_default=True)
@click.option("--frequency-penalty", type=float, default=0.0, show_default=True)
@click.option("--logit-bias", multiple=True, metavar="ID=BIAS", help="May be given several times.")
@click.option("--seed", type=int, help="Default: drawn, and reported by --verbose and --json.")
@click.option("--stop", multiple=True, metavar="TEXT", help="Ends the text; may be given several times.")
@click.option("--context", type=int, help="Tokens of prompt and text; default: the model's, at most 4096.")
@click.option("--kv", type=click.Choice(KV_DTYPES), default="f16", show_default=True, help="Type of the KV cache.")
@click.option("--run-ahead", type=int, metavar="N", help="Tokens a GPU computes before the first is read; 0: none.")
@click.option("--ignore-eos", is_flag=True, help="Go on after the end of the text.")
@click.option("--special", is_flag=True, help="Control tokens spelled in the prompt are control tokens.")
@click.option("--chat", is_flag=True, help="The prompt is a user's message in the model's chat template.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object when done.")
@click.option("--profile", is_flag=True, help="Print the time of every op to standard error; generating is slower.")
@click.option("--verbose", is_flag=True, help="Print device, memory, seed and timings to standard error.")
def main(
    prompt: str, model: str | None, device: str, threads: int | None, as_json: bool, verbose: bool, **rest: Any
) -> None:
    """Continue PROMPT with a language model. PROMPT - reads standard input; none is an empty one."""
    run_cli(lambda: generate(read_prompt(prompt), model, device, threads, as_json, verbose, rest))


def generate(
    prompt: str, model: str | None, device: str, threads: int | None, as_json: bool, verbose: bool, rest: dict[str, Any]
) -> None:
    special, chat, profile = (rest.pop(name) for name in ("special", "chat", "profile"))
    options = {name: rest.pop(name) for name in ("context", "kv", "adapter", "run_ahead")} | {"threads": threads}
    params = SamplingParams(**{**rest, "logit_bias": dict(map(parse_bias, rest["logit_bias"]))})
    with (
        LoadingBar() as bar,
        LLM(model, device, **options, **bar.options()) as llm,
    ):
        source: Any = llm.tokenizer.encode_chat([{"role": "user", "content": prompt}]) if chat else prompt
        show = (lambda _text: None) if as_json else write
        with llm.profile() if profile else contextlib.nullcontext() as timed:
            stream = llm.stream(source, params, parse_special=special)
            if not as_json and not chat:
                bar.then(lambda: write(prompt))
            consume(stream, bar, show)
        report(stream.result, llm, as_json, verbose)
        if timed is not None:
            click.echo(str(timed), err=True)


def consume(stream: GenerationStream, bar: LoadingBar, show: Callable[[str], None]) -> None:
    """Prints pieces as they come; Ctrl-C ends the generation and keeps what was said."""
    try:
        for piece in stream:
            bar.finish()
            show(piece.text)
    except KeyboardInterrupt:
        stream.close()
        bar.finish()
        click.echo("\ninterrupted", err=True)
        raise


def report(result: Generation, llm: LLM, as_json: bool, verbose: bool) -> None:
    t = result.timings
    if as_json:
        fields = ("text", "token_ids", "finish_reason", "seed")
        click.echo(json.dumps({**{f: getattr(result, f) for f in fields}, "timings": asdict(t), "device": llm.device}))
    else:
        write("\n")
    if verbose:
        click.echo(f"device: {llm.device}", err=True)
        for name, why in llm.passed_over.items():
            click.echo(f"not used: {name}: {why}", err=True)
        click.echo(f"memory: {llm.memory()}", err=True)
        click.echo(f"seed: {result.seed}  finish: {result.finish_reason}", err=True)
        click.echo(rate("prompt", t.prompt_tokens, t.prefill_s), err=True)
        click.echo(
            rate("generated", max(0, t.decode_tokens - 1), t.decode_s) + f"  first token {t.first_token_s:.3f} s",
            err=True,
        )


def rate(label: str, tokens: int, seconds: float) -> str:
    speed = f"{tokens / seconds:.1f} tok/s" if seconds > 0 else "-"
    return f"{label}: {tokens} tokens in {seconds:.3f} s ({speed})"


def write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def read_prompt(prompt: str) -> str:
    """The prompt; for "-" standard input, less the one newline that echo and editors put at its end."""
    if prompt != "-":
        return prompt
    try:
        return sys.stdin.buffer.read().decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise click.UsageError(f"standard input is not UTF-8 text: {error}") from error
    except (OSError, AttributeError, ValueError) as error:
        raise click.UsageError("standard input cannot be read") from error


def parse_bias(text: str) -> tuple[int, float]:
    token, _, bias = text.partition("=")
    try:
        return int(token), float(bias)
    except ValueError as error:
        raise click.UsageError(f"--logit-bias takes ID=BIAS such as 13=-100; given: {text!r}") from error


if __name__ == "__main__":
    main(prog_name=f"{os.path.basename(sys.executable)} -m wgpu_infer.generate")
