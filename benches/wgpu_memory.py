"""Peak memory of a whole model on a software WebGPU adapter, whose memory is the machine's own.

    python benches/wgpu_memory.py [--model SHAPE:FORMAT] [--models DIR] [--json PATH]

Every run is a process of its own that loads a model, its output layer split over several bindings, and answers two
tokens. The base is the same run on the small model of the package; beyond it a model may take 1.3 times its weights,
KV cache and activations included. A GPU has memory of its own, so there the figure says nothing. No adapter: a notice
and status 0. MB is 10⁶ bytes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout, when run as a script

from benches.cpu_memory import MB, peak_bytes
from benches.harness import Column, Report, Row, Table, describe, machine
from benches.model_files import model_files
from wgpu_infer import DeviceError
from wgpu_infer.backends.webgpu.adapters import list_adapters
from wgpu_infer.llm import DEFAULT_MODEL

LIMIT = 1.3  # times the weights
MAX_BINDING = 16 << 20
TABLE = Table(
    (
        Column("model", 22),
        Column("weights MB", 10, ".0f"),
        Column("KV MB", 6, ".1f"),
        Column("pieces", 6, "d"),
        Column("base MB", 7, ".0f"),
        Column("peak MB", 7, ".0f"),
        Column("ratio", 6, ".3f"),
        Column("limit", 5, ".1f"),
        Column("verdict", 7),
    )
)


def run_child(path: str) -> None:
    """Loads, answers, prints what it took as JSON."""
    from wgpu_infer import LLM, SamplingParams
    from wgpu_infer.backends.webgpu.backend import WebGPUBackend

    backend = WebGPUBackend(checked=False, lowered={"max_binding": MAX_BINDING})
    with LLM(path, device=backend) as llm:
        out = llm.generate([1, 2, 3], SamplingParams(max_tokens=2, temperature=0.0, ignore_eos=True))
        (output, _), *_ = llm._engine.model.weights.model["output.weight"].parts  # type: ignore[union-attr]
        weights = sum(tensor.nbytes for tensor in llm.gguf.tensors.values())
        found = {"weights": weights, "kv": llm.memory().kv, "pieces": len(output.payload)}
    print(json.dumps(found | {"peak": peak_bytes(), "tokens": len(out.token_ids)}))


def measure(path: Path) -> Row:
    """Runs this file as a child on a model."""
    done = subprocess.run([sys.executable, __file__, "--child", str(path)], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise click.ClickException(f"the run on {path.name} ended with status {done.returncode}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def summarise(model: str, base: Row, full: Row) -> Row:
    ratio = (full["peak"] - base["peak"]) / full["weights"]
    about = {"model": model, "base": base["peak"], "ratio": ratio, "limit": LIMIT}
    return full | about | {"verdict": "PASS" if ratio <= LIMIT and full["tokens"] == 2 else "short"}


def show(row: Row) -> str:
    sizes = [row["weights"] / MB, row["kv"] / MB, row["pieces"], row["base"] / MB, row["peak"] / MB]
    return TABLE.line([row["model"], *sizes, row["ratio"], row["limit"], row["verdict"]])


@click.command()
@click.option("--model", default="tinyllama-1.1b:Q4_0", show_default=True, help="SHAPE:FORMAT of tools/make_model.py.")
@click.option("--models", "folder", type=click.Path(file_okay=False, path_type=Path), help="Keep model files here.")
@click.option("--json", "output", type=click.Path(dir_okay=False, path_type=Path), help="Write the results here.")
def main(model: str, folder: Path | None, output: Path | None) -> None:
    """Measure the peak memory of a model on a software adapter; status 1 where it is over the limit."""
    try:
        adapter = list_adapters()[0]
    except (DeviceError, IndexError) as error:
        click.echo(f"nothing measured: {error or 'there is no WebGPU adapter'}")
        return
    about = machine() | {"device": adapter.summary()}
    report = Report(output, {"bench": "wgpu_memory", "machine": about})
    click.echo(f"{describe(about)}\n{about['device']}\n{TABLE.header()}")
    with model_files(folder) as files:
        row = summarise(model, measure(DEFAULT_MODEL), measure(files.path(model)))
    report.add(row)
    click.echo(show(row))
    if row["verdict"] != "PASS":
        raise SystemExit(1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        run_child(sys.argv[2])
    else:
        main()
