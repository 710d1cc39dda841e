"""The sections of gpu_report.py, each run in a process of its own: `python tools/gpu_sections.py NAME FILE SECONDS`.

A section fills a dict, which is written to FILE whenever it has found something.
"""

from __future__ import annotations

import glob
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]  # the checkout, when run as a script

FAILURES = 20  # of ops that are named
FORMATS = ("F16", "Q4_0", "Q8_0", "Q4_K", "Q6_K")  # of the embedded model; its own is the first
AGREE_TOKENS, FORCED_TOKENS = 50, 64
NMSE = {True: 5e-4, False: 1e-6}  # largest allowed, with int8 activations and without
ARGMAX = 0.96
DECODE_TOKENS, PREFILL_TOKENS = 128, 512
DEPTHS = (0, 1, 2, 4, 8, 16)  # decode steps in flight; 0 picks tokens on the CPU
ROOF_GOAL = 0.8  # a kernel that reaches this share of the roof has little left to gain
Found = dict[str, Any]


class Section:
    """Facts on their way to the file, and the time that is left."""

    def __init__(self, path: Path, seconds: float, quick: bool):
        self.path, self.quick, self.ends = path, quick, time.monotonic() + seconds
        self.found: Found = {}

    @property
    def left(self) -> float:
        return self.ends - time.monotonic()

    def say(self, **facts: Any) -> None:
        self.found |= facts
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.found, default=str))
        part.replace(self.path)


def machine(section: Section) -> None:
    """Adapters, drivers, versions: first what needs no device."""
    section.say(drivers=[*glob.glob("/usr/share/vulkan/icd.d/*.json"), *glob.glob("/etc/vulkan/icd.d/*.json")])
    section.say(vk_driver_files=os.environ.get("VK_DRIVER_FILES"), gpu=nvidia_smi(), cores=os.cpu_count())
    from wgpu_infer.doctor import examine_adapters, installed

    adapters, problem = examine_adapters()
    section.say(packages={name: installed(name) for name in ("wgpu-infer", "wgpu", "numpy", "numba")})
    section.say(problem=problem, adapters=[flat(adapter) for adapter in adapters])
    from wgpu_infer.backends.webgpu.backend import WebGPUBackend

    with WebGPUBackend() as backend:
        replay = "through wgpu-py, which is slower" if backend.eager else "by compiled calls"
        section.say(device=backend.describe(), capabilities=str(backend.caps), steps_are_issued=replay)


def nvidia_smi() -> str | None:
    query = [
        "nvidia-smi",
        "--query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit",
        "--format=csv,noheader",
    ]
    try:
        return subprocess.run(query, capture_output=True, text=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.TimeoutExpired):
        return None


def flat(adapter: Found) -> Found:
    return {k: adapter[k] for k in ("number", "adapter", "kind", "chosen", "features", "missing", "limits")}


def rates(section: Section) -> None:
    """What the adapter reaches in a copy and in plain arithmetic, and the fixed costs."""
    from wgpu_infer.backends.webgpu.backend import WebGPUBackend
    from wgpu_infer.backends.webgpu.rates import measure
    from wgpu_infer.backends.webgpu.timestamps import Timestamps

    with WebGPUBackend() as backend:
        with backend.lock:
            found = measure(backend.runtime, Timestamps(backend.runtime))
        section.say(copy_gb_s=found.copy / 1e9, float32_tflop_s=found.float32 / 1e12, int8_top_s=found.int8 / 1e12)
        array = backend.array(np.zeros(16, np.float32))
        times = []
        for _ in range(20):
            start = time.perf_counter()
            backend.read(array, (1,))
            times.append(time.perf_counter() - start)
        section.say(read_back_us=1e6 * statistics.median(times))


def ops(section: Section) -> None:
    """Every case of every op, in an order that is mixed so that a run that ends early has seen all ops."""
    from op_runner import check_case

    from wgpu_infer.backends.webgpu.backend import WebGPUBackend
    from wgpu_infer.contracts.table import OPS

    cases = [(op, case) for op in OPS.values() for case in op.cases()]
    random.Random(0).shuffle(cases)
    if section.quick:
        cases = cases[:25]
    passed, missing = 0, 0
    failures: list[Found] = []
    with WebGPUBackend() as backend:
        for number, (op, case) in enumerate(cases):
            if section.left < 2:
                break
            if backend.missing(op, format_of(case)):
                missing += 1
                continue
            try:
                check_case(backend, op, case)
                passed += 1
            except Exception as error:  # a wrong result, or whatever the device says
                failures.append({"case": f"{op.name}-{case.id}", "why": f"{type(error).__name__}: {error}"[:300]})
            if number % 20 == 0:
                section.say(passed=passed, failed=len(failures), of=len(cases))
    section.say(passed=passed, failed=len(failures), not_on_webgpu=missing, of=len(cases))
    section.say(failures=failures[:FAILURES])


def format_of(case: Any) -> str | None:
    for value in case.operands.values():
        if hasattr(value, "format"):
            return str(value.format)
        if hasattr(value, "table"):
            return str(value.dtype)
    return None


def agreement(section: Section) -> None:
    """The embedded model in several formats: logits and greedy tokens against the reference backend."""
    from wgpu_infer.llm import DEFAULT_MODEL

    rows: list[Found] = []
    with tempfile.TemporaryDirectory() as folder:
        for fmt in FORMATS[:1] if section.quick else FORMATS:
            if section.left < 8:
                rows.append({"format": fmt, "verdict": "no time was left"})
                break
            try:
                path = DEFAULT_MODEL if fmt == FORMATS[0] else quantized(DEFAULT_MODEL, fmt, Path(folder))
                rows.append({"format": fmt} | compare_models(path, fmt))
            except Exception as error:
                rows.append({"format": fmt, "verdict": f"{type(error).__name__}: {error}"[:300]})
            section.say(models=rows)
    section.say(models=rows, run_ahead=compare_depths(section))


def compare_depths(section: Section) -> list[Found]:
    """Whether the embedded model says the same however many steps are in flight, greedy and sampled."""
    from wgpu_infer.llm import LLM
    from wgpu_infer.sampling.params import SamplingParams

    given = [SamplingParams(max_tokens=AGREE_TOKENS, seed=1, ignore_eos=True, temperature=t) for t in (0.0, 0.8)]
    said: dict[int, list[list[int]]] = {}
    for depth in DEPTHS[:: 3 if section.quick else 1]:
        if section.left > 4:
            with LLM(device="webgpu", run_ahead=depth) as llm:
                said[depth] = [llm.generate("Once upon a time", params).token_ids for params in given]
    first = said.get(DEPTHS[0])
    return [{"depth": d, "verdict": "agrees" if texts == first else "DIFFERS"} for d, texts in said.items()]


def quantized(source: Path, fmt: str, folder: Path) -> Path:
    from tools.quantize_gguf import quantize_gguf

    path = folder / f"{fmt}.gguf"
    quantize_gguf(source, path, fmt)
    return path


def compare_models(path: Path, fmt: str) -> Found:
    """The reference is teacher-forced with the GPU's own greedy text."""
    from wgpu_infer.llm import LLM
    from wgpu_infer.sampling.params import SamplingParams

    greedy = SamplingParams(max_tokens=AGREE_TOKENS, temperature=0.0, ignore_eos=True)
    with LLM(path, device="webgpu") as gpu, LLM(path, device="reference") as witness:
        prompt = gpu.tokenizer.encode("Once upon a time", add_special=True)
        text = gpu.generate(prompt, greedy).token_ids
        ids = (prompt + text)[:FORCED_TOKENS]
        got, want = gpu.logits(ids).astype(np.float64), witness.logits(ids).astype(np.float64)
        int8 = gpu._engine.backend.can_act8(fmt)
    nmse = float(((got - want) ** 2).sum() / (want**2).sum())
    same = float((got.argmax(1) == want.argmax(1)).mean())
    decoded = want[len(prompt) - 1 : -1].argmax(1).tolist()
    steps = float(np.mean([a == b for a, b in zip(text, decoded, strict=False)]))
    holds = nmse <= NMSE[int8] and same >= ARGMAX and steps >= ARGMAX
    figures = {"int8 activations": int8, "NMSE": nmse, "same argmax": same, "same greedy token": steps}
    return figures | {"verdict": "agrees" if holds else "DIFFERS"}


def model(section: Section, name: str) -> None:
    """Tuning, decode and prefill of one model, then every kernel against the roof."""
    from benches.model_files import model_files
    from wgpu_infer.llm import LLM

    os.environ["WGPU_INFER_TUNE"] = "0"  # it is tuned below, and told
    begun = time.monotonic()
    with model_files(None) as files:
        path = files.path(name)
        section.say(file_mb=path.stat().st_size / 1e6, writing_s=time.monotonic() - begun)
        begun = time.monotonic()
        with LLM(path, device="webgpu") as llm:
            section.say(device=llm.device, loading_s=time.monotonic() - begun)
            tuned = llm.tune(seconds=min(20.0, section.left / 4))
            section.say(tuned=[vars(t) for t in tuned] or "nothing to choose from")
            measure_model(section, llm)


def measure_model(section: Section, llm: Any) -> None:
    from benches.cpu_targets import Workload

    tokens, prompt = (8, 32) if section.quick else (DECODE_TOKENS, PREFILL_TOKENS)
    decode = rate(section, llm, Workload("decode", 1), tokens)
    section.say(decode_tok_s=decode)
    section.say(decode_1024_tok_s=None if section.quick else rate(section, llm, Workload("decode", 1024), tokens, 2))
    section.say(decode_tok_s_by_depth=rates_by_depth(section, llm, tokens))
    section.say(prefill_tokens=prompt, prefill_tok_s=rate(section, llm, Workload("prefill", prompt), tokens))
    steps = profile_of(llm, Workload("decode", 1), 9)
    together = [s.seconds for s in steps.timing.steps if not s.apart and s.tokens == 1]
    if together and decode:
        section.say(step_ms=1e3 * statistics.median(together), busy=min(1.0, statistics.median(together) * decode))
    section.say(layer_ms=1e3 * layer_seconds(llm), layer_dispatches=steps.layer_dispatches)
    section.say(cpu_us={what: 1e6 * s for what, s in steps.cpu.items()})
    prompts = profile_of(llm, Workload("prefill", prompt), 0)
    say_kernels(section, "decode", steps, lambda e: e.step > 0, "matvec")  # the first was the prompt
    say_kernels(section, "prefill", prompts, lambda e: True, "matmul")


def rate(section: Section, llm: Any, work: Any, tokens: int, times: int = 5) -> float | None:
    """Median tokens/s of some runs after one to warm up; None without time for it."""
    from benches.our_engine import make_prompts, run_ours

    prompts = make_prompts(work, llm.config.vocab)
    count = tokens if work.phase == "decode" else work.prompt
    rates: list[float] = []
    for _ in range(times + 1):
        if section.left < 5 and rates:
            break
        rates.append(count / run_ours(llm, work, prompts, tokens).seconds)
    return statistics.median(rates[1:] or rates)


def rates_by_depth(section: Section, llm: Any, tokens: int) -> Found:
    """Decode rate by how many steps are in flight. On a software adapter tokens are picked on the CPU alone."""
    from benches.cpu_targets import Workload

    engine, found = llm._engine, {}
    usual = engine.run_ahead, engine.state
    for depth in DEPTHS if engine.state else ():
        engine.run_ahead, engine.state = depth, usual[1] if depth else None
        found[str(depth)] = rate(section, llm, Workload("decode", 1), tokens, 2)
    engine.run_ahead, engine.state = usual
    return found


def profile_of(llm: Any, work: Any, steps: int) -> Any:
    """Some decode steps, or a prompt three times, so that each way of timing has its turn."""
    from benches.our_engine import make_prompts
    from wgpu_infer.sampling.params import SamplingParams

    (prompt,) = make_prompts(work, llm.config.vocab)
    with llm.profile() as profile:
        for _ in range(1 if work.phase == "decode" else 3):
            llm.generate(prompt, SamplingParams(max_tokens=steps + 1, temperature=0.0, ignore_eos=True))
    return profile


def layer_seconds(llm: Any) -> float:
    """All layers of a decode step in one pass, divided by their number."""
    from wgpu_infer.backends.webgpu.timestamps import Timestamps
    from wgpu_infer.models.transformer import Batch

    engine = llm._engine

    def measure() -> float:
        model, cache = engine.model, engine.cache.layers
        batch = Batch(np.zeros((1, 4), np.uint32), 1, "decode")

        def layers() -> None:
            delta = None
            for layer, kv in zip(model.weights.layers, cache, strict=True):
                delta = model.layer(batch, layer, kv, delta)

        backend = getattr(engine.backend, "active", engine.backend)
        with backend.lock:
            timestamps, program = Timestamps(backend.runtime), backend.program(layers)
            times = [timestamps.together(program.dispatches) for _ in range(6)]
        return statistics.median(times[1:]) / model.config.layers

    return float(llm._worker.call(measure))


def say_kernels(section: Section, phase: str, profile: Any, wanted: Callable[[Any], bool], product: str) -> None:
    """Rows by kernel, the best product's rate, and what would gain most if it reached ROOF_GOAL of its roof."""
    from wgpu_infer.profile import HEADER

    profile.timing.events = [e for e in profile.timing.events if wanted(e)]
    rows = profile.rows
    section.say(**{f"{phase}_kernels": [dict(zip(HEADER, row.cells(), strict=True)) for row in rows[:12]]})
    products = [row for row in rows if row.op.startswith(product)]
    if products and product == "matvec":
        section.say(matvec_gb_s=max(r.gb_s for r in products), matvec_gb_s_mean=mean_rate(products, "nbytes"))
    if products and product == "matmul":
        section.say(matmul_tflop_s=max(r.gflop_s for r in products) / 1e3)
        section.say(matmul_tflop_s_mean=mean_rate(products, "operations") / 1e3)
    gains = sorted((g for g in map(gain, rows) if g["predicted gain"] > 0), key=lambda g: -g["predicted gain"])
    section.say(**{f"{phase}_next_ideas": [g | {"predicted gain": f"{g['predicted gain']:.1%}"} for g in gains[:3]]})


def mean_rate(rows: list[Any], what: str) -> float:
    """1e9 per second, over the time of all rows."""
    return float(sum(getattr(r.work, what) for r in rows) / sum(r.seconds for r in rows) / 1e9)


def gain(row: Any) -> Found:
    """The share of the step that would be saved at ROOF_GOAL of the roof."""
    saved = row.share * max(0.0, 1 - (row.roof or 0.0) / ROOF_GOAL)
    what = " ".join(part for part in (row.op, row.format, row.shape) if part)
    return {"kernel": what, "bound by": row.bound, "of roof": f"{row.roof or 0:.0%}", "predicted gain": saved}


SECTIONS: dict[str, Callable[[Section], None]] = {
    "machine": machine,
    "rates": rates,
    "ops": ops,
    "agreement": agreement,
}


def main(name: str, path: str, seconds: str, *options: str) -> None:
    section = Section(Path(path), float(seconds), "--quick" in options)
    if name.startswith("model "):
        model(section, name.removeprefix("model "))
    else:
        SECTIONS[name](section)


if __name__ == "__main__":
    main(*sys.argv[1:])
