"""One command for a machine with a GPU: are its results right, how fast is it, and how far from what it could do?

    python tools/gpu_report.py [--adapter ADAPTER] [--out FOLDER] [--budget SECONDS] [--quick]

Op cases against their references, the embedded model against the reference backend, tuning, then decode and prefill of
models written by tools/make_model.py, each kernel's GB/s, TFLOP/s and share of what the adapter reaches in plain copies
and arithmetic, and the targets. Each section is a process of its own with its share of the budget: one that fails,
hangs or loses the device does not stop the others. gpu_report.json and gpu_report.md are written anew after each
section and hold what a section had found when it ended. Needs the checkout, numpy, click, wgpu and what loading a model
needs; without numba steps are issued through wgpu-py, which is slower, and the report says so.
"""

from __future__ import annotations

import glob
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]  # the checkout, when run as a script

from tools.gpu_report_text import render  # noqa: E402
from tools.gpu_targets import MODELS, QUICK_MODELS, judge  # noqa: E402

BUDGET = 450.0  # seconds in all
SHARES = {"machine": 0.06, "rates": 0.04, "ops": 0.22, "agreement": 0.14}  # of the budget; models share the rest
DRIVERS = ("/usr/local/nvidia/share/vulkan/icd.d/*.json",)  # where containers hide them from the Vulkan loader
LEAST_S = 5.0  # a section is not begun with less


def plan(budget: float, models: tuple[str, ...]) -> dict[str, float]:
    """Seconds by section, in order."""
    fixed = {name: share * budget for name, share in SHARES.items()}
    each = (budget - sum(fixed.values())) / max(len(models), 1)
    return fixed | {f"model {model}": each for model in models}


def environ(adapter: str | None) -> dict[str, str]:
    """The sections' environment: the adapter, unbuffered output, drivers that the Vulkan loader would not find."""
    found = dict(os.environ) | {"PYTHONUNBUFFERED": "1"}
    if adapter:
        found["WGPU_ADAPTER_NAME"] = adapter
    drivers = [path for pattern in DRIVERS for path in sorted(glob.glob(pattern))]
    if drivers and not {"VK_DRIVER_FILES", "VK_ICD_FILENAMES"} & found.keys():
        found["VK_DRIVER_FILES"] = ":".join(drivers)
    return found


def run_section(name: str, seconds: float, quick: bool, env: dict[str, str], folder: Path) -> dict[str, Any]:
    """What the section's process left, and how it ended."""
    partial = folder / "section.json"
    partial.unlink(missing_ok=True)
    log = folder / "section.log"
    command = [sys.executable, str(Path(__file__).with_name("gpu_sections.py")), name, str(partial), str(seconds)]
    begun = time.monotonic()
    with log.open("w") as output:
        try:
            status: Any = subprocess.run(
                [*command, *(["--quick"] if quick else [])], env=env, stdout=output, stderr=output, timeout=seconds + 5
            ).returncode
        except subprocess.TimeoutExpired:
            status = "ended for want of time"
    found = json.loads(partial.read_text()) if partial.exists() else {}
    found["seconds"] = round(time.monotonic() - begun, 1)
    if status != 0:
        found["failed"] = f"status {status}: {last_lines(log)}"
    return found


def last_lines(log: Path, count: int = 6) -> str:
    return " | ".join(log.read_text(errors="replace").strip().splitlines()[-count:])[-1500:]


def write(out: Path, report: dict[str, Any]) -> None:
    """Both files, each replaced whole."""
    for name, text in (
        ("gpu_report.json", json.dumps(report, indent=1, default=str)),
        ("gpu_report.md", render(report)),
    ):
        part = out / f"{name}.part"
        part.write_text(text + "\n")
        part.replace(out / name)


@click.command()
@click.option("--adapter", help="Its number in `wgpu-infer doctor`, or part of its name; default: the best one.")
@click.option("--out", default=".", type=click.Path(file_okay=False, path_type=Path), help="Folder of the two files.")
@click.option("--budget", default=BUDGET, show_default=True, type=click.FloatRange(1), help="Seconds in all.")
@click.option("--model", "models", multiple=True, help="SHAPE:FORMAT; default: those with targets.")
@click.option("--section", "only", multiple=True, help="Only these, by the names of their headings.")
@click.option("--quick", is_flag=True, help="Few cases and a tiny model: tries the report itself.")
def main(
    adapter: str | None, out: Path, budget: float, models: tuple[str, ...], only: tuple[str, ...], quick: bool
) -> None:
    """Report on this machine's GPU: results, speed, distance to the roofline."""
    out.mkdir(parents=True, exist_ok=True)
    ends = time.monotonic() + budget
    sections = plan(budget, models or (QUICK_MODELS if quick else MODELS))
    report: dict[str, Any] = {"began": time.strftime("%Y-%m-%d %H:%M:%S %Z"), "quick": quick, "sections": {}}
    with tempfile.TemporaryDirectory() as folder:
        for name, seconds in sections.items():
            if only and name not in only:
                continue
            left = min(max(seconds, LEAST_S), ends - time.monotonic())
            if left < LEAST_S:
                report["sections"][name] = {"failed": "no time was left"}
            else:
                report["sections"][name] = run_section(name, left, quick, environ(adapter), Path(folder))
            report["targets"] = judge(report["sections"])
            write(out, report)
            found = report["sections"][name]
            click.echo(f"{name}: {found.get('failed') or 'done'} ({found.get('seconds', 0)} s)")
            if name == "machine" and found.get("failed"):
                raise click.ClickException("there is no GPU to report on; `wgpu-infer doctor` says more")
    click.echo((out / "gpu_report.md").read_text())
    if failed := [name for name, found in report["sections"].items() if found.get("failed")]:
        raise click.ClickException(f"these sections failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
