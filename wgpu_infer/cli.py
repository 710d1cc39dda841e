"""wgpu-infer: the commands beside generate. Each parses, calls the library and prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from wgpu_infer import __version__
from wgpu_infer.generate import main as generate
from wgpu_infer.generate import read_prompt
from wgpu_infer.terminal import LoadingBar, run_cli


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="wgpu-infer")
def main() -> None:
    """Run language models on any GPU through WebGPU, or on the CPU."""


main.add_command(generate, "generate")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(as_json: bool) -> None:
    """Say what this machine has, what would be used, and what each missing thing costs."""
    from wgpu_infer.doctor import examine, render

    run_cli(lambda: print_either(examine(), render, as_json))


@main.command()
@click.argument("file", type=click.Path())
@click.option("--tensors/--no-tensors", default=True, show_default=True, help="List every tensor.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def inspect(file: str, tensors: bool, as_json: bool) -> None:
    """Show a model FILE's metadata and tensors, whatever its architecture."""
    from wgpu_infer.inspect import render, summarise

    run_cli(lambda: print_either(summarise(file, tensors), render, as_json))


@main.command()
@click.argument("text", default="-")
@click.option("--model", metavar="FILE", help="GGUF file; default: the model that comes with the package.")
@click.option("--special", is_flag=True, help="Control tokens spelled in the text are control tokens.")
@click.option("--bos/--no-bos", default=True, show_default=True, help="Add BOS and EOS as the file says.")
@click.option("--ids", is_flag=True, help="Print the ids only, as a JSON list.")
@click.option("--decode", is_flag=True, help="TEXT is a list of ids to turn into text.")
def tokenize(text: str, model: str | None, special: bool, bos: bool, ids: bool, decode: bool) -> None:
    """Turn TEXT into token ids (or back). TEXT - reads standard input."""
    run_cli(lambda: _tokenize(read_prompt(text), model, special, bos, ids, decode))


def _tokenize(text: str, model: str | None, special: bool, bos: bool, ids: bool, decode: bool) -> None:
    from wgpu_infer.llm import DEFAULT_MODEL
    from wgpu_infer.tokenizer.tokenizer import Tokenizer

    tokenizer = Tokenizer.from_gguf(model or DEFAULT_MODEL)
    if decode:
        click.echo(tokenizer.decode(parse_ids(text), skip_special=not special))
        return
    found = tokenizer.encode(text, add_special=bos, parse_special=special)
    if ids:
        click.echo(json.dumps(found))
        return
    for token in found:
        click.echo(f"{token:>8}  {tokenizer.name_of(token)!r}")


def parse_ids(text: str) -> list[int]:
    try:
        return [int(part) for part in text.replace("[", " ").replace("]", " ").replace(",", " ").split()]
    except ValueError as error:
        raise click.UsageError(f"--decode takes token ids such as '1 403 407'; given: {text[:60]!r}") from error


@main.command()
@click.option("--model", metavar="FILE", help="GGUF file; default: the model that comes with the package.")
@click.option("--device", default="auto", show_default=True, help="auto, webgpu, cpu or reference.")
@click.option("--adapter", help="WebGPU adapter: its number in `wgpu-infer doctor`, or part of its name.")
@click.option("--witness", help="The backend to check against; default: cpu for a GPU, else reference.")
@click.option("--steps", type=int, default=8, show_default=True)
@click.option("--prompt", default="")
def verify(model: str | None, device: str, adapter: str | None, witness: str | None, steps: int, prompt: str) -> None:
    """Check every op of some steps of a model against another backend; exit code 1 where they disagree."""
    run_cli(lambda: _verify(model, device, adapter, witness, steps, prompt))


def _verify(model: str | None, device: str, adapter: str | None, witness: str | None, steps: int, prompt: str) -> None:
    from wgpu_infer.llm import LLM

    with LoadingBar() as bar, LLM(model, device, adapter=adapter, **bar.options()) as llm:
        report = llm.verify(steps, witness, prompt)
        bar.finish()
        click.echo(str(report))
    if not report.agrees:
        raise SystemExit(1)


@main.command()
@click.option("--model", metavar="FILE", help="GGUF file; default: the model that comes with the package.")
@click.option("--adapter", help="WebGPU adapter: its number in `wgpu-infer doctor`, or part of its name.")
@click.option("--seconds", type=float, default=60.0, show_default=True, help="At most, apart from loading.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def tune(model: str | None, adapter: str | None, seconds: float, as_json: bool) -> None:
    """Measure which variants of a model's kernels are fastest on this GPU, and keep the choice."""
    run_cli(lambda: _tune(model, adapter, seconds, as_json))


def _tune(model: str | None, adapter: str | None, seconds: float, as_json: bool) -> None:
    from wgpu_infer.kept import cache_dir
    from wgpu_infer.llm import LLM

    with LoadingBar() as bar, LLM(model, "webgpu", adapter=adapter, **bar.options()) as llm:
        found = {"device": llm.device, "kept": str(cache_dir()), "tuned": [vars(tuned) for tuned in llm.tune(seconds)]}
        bar.finish()
    print_either(found, render_tuned, as_json)


def render_tuned(found: dict[str, Any]) -> str:
    lines = [
        f"{t['what']}: {t['variant']}, {1e6 * t['chosen_s']:.1f} us (the default of {t['candidates']} variants: "
        f"{1e6 * t['default_s']:.1f} us)"
        for t in found["tuned"]
    ]
    return "\n".join(
        [found["device"], *(lines or ["there is nothing to choose from for this model"]), f"kept in {found['kept']}"]
    )


def print_either(found: Any, render: Any, as_json: bool) -> None:
    click.echo(json.dumps(found, indent=1, default=str) if as_json else render(found))


if __name__ == "__main__":
    main(prog_name=Path(__file__).parent.name)
