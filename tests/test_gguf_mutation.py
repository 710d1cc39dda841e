"""Thousands of damaged GGUF files, seeded: each is a typed error or opens and then equals what the gguf package reads.

They are opened in a child process with 2 GiB of address space, so that a crash, a runaway allocation or a hang is a
failure of the test and not of the run. The mutations know the format: they put boundary values into counts, lengths,
types, shapes and offsets, rename, repeat, drop and exchange whole keys and tensors, and cut and join files.
"""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gguf_bytes as raw
import pytest
from conftest import slowness

from wgpu_infer.errors import ModelFormatError
from wgpu_infer.formats.gguf import GGUF

MUTATED_FILES = 2_000
FLIPPED_FILES = 10_000
SPLIT_SETS = 500
ADDRESS_SPACE = 2 << 30
BOUNDARIES = [0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 31, 32, 33, 63, 64, 65, 255, 256]
BOUNDARIES += [n + d for n in (2**16, 2**30, 2**31, 2**32, 2**40, 2**61, 2**63, 2**64) for d in (-1, 0, 1)]


# ---- parent ------------------------------------------------------------


def run_child(folder: Path, plan: str, count: int) -> dict[str, Any]:
    """Runs this file as a program; its last line says what happened."""
    pytest.importorskip("resource")
    command = [sys.executable, __file__, str(folder), plan, str(count)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return json.loads(done.stdout.splitlines()[-1])


def test_structure_aware_mutations(tmp_path: Path) -> None:
    report = run_child(tmp_path, "mutate", MUTATED_FILES)
    assert report["files"] == MUTATED_FILES
    assert report["refused"] > MUTATED_FILES // 3 and report["compared"] > MUTATED_FILES // 20
    assert report["reasons"] > 25  # the mutations reach most of the checks
    assert_frugal(report)


def test_g40_random_byte_flips_of_a_header(tmp_path: Path) -> None:
    report = run_child(tmp_path, "flip", FLIPPED_FILES)
    assert report["files"] == FLIPPED_FILES
    assert report["refused"] > FLIPPED_FILES // 3 and report["compared"] > FLIPPED_FILES // 20
    assert_frugal(report)


def test_mutations_of_a_split_model(tmp_path: Path) -> None:
    report = run_child(tmp_path, "split", SPLIT_SETS)
    assert report["files"] == SPLIT_SETS
    assert report["refused"] > SPLIT_SETS // 3 and report["compared"] > SPLIT_SETS // 20
    assert_frugal(report)


def assert_frugal(report: dict[str, Any]) -> None:
    assert report["slowest"] < 1.0 * slowness()  # seconds of one file
    assert report["grown_kib"] < 64 << 10
    assert report["handles"] == 0


# ---- mutations ------------------------------------------------------------


def bases() -> list[raw.Image]:
    """Good files to start from."""
    plain = [raw.scalar("general.architecture", raw.STRING, "llama")]
    words = [raw.array("tokenizer.ggml.tokens", raw.STRING, [f"word{i}" for i in range(50)])]
    wide = [raw.scalar("general.alignment", raw.U32, 8), raw.scalar("x", raw.F32, math.nan)]
    tensors = [raw.Tensor("a", (32, 3), 2), raw.Tensor("b", (5, 2, 3), 24), raw.Tensor("c", (256,), 12)]
    return [
        raw.good(),
        raw.build(plain + words),
        raw.build(plain, tensors, version=2),
        raw.build(wide + words, tensors, alignment=8),
        raw.build(),
    ]


def set_number(rng: random.Random, image: raw.Image, data: bytearray) -> None:
    """A boundary value, or one near the old value, near the file's size, or a plausible count."""
    field = rng.choice([field for field in image.fields if field.kind != "bytes"])
    old = int.from_bytes(data[field.offset : field.offset + field.size], "little")
    rest = len(data) - field.offset - field.size
    near = [old + 1, old - 1, old * 2, old ^ 1 << rng.randrange(8 * field.size), rest, rest + 1, rest // 8, len(data)]
    value = rng.choice(BOUNDARIES if rng.random() < 0.5 else near)
    data[field.offset : field.offset + field.size] = (value % (1 << 8 * field.size)).to_bytes(field.size, "little")


def set_type(rng: random.Random, image: raw.Image, data: bytearray) -> None:
    """Another type of value or tensor, mostly one that exists."""
    fields = [field for field in image.fields if field.role in ("key type", "element type", "tensor type")]
    if fields:
        field = rng.choice(fields)
        data[field.offset : field.offset + 4] = rng.randrange(44).to_bytes(4, "little")


def set_bytes(rng: random.Random, image: raw.Image, data: bytearray) -> None:
    """Random content of a name, a string or a value, of the same length."""
    field = rng.choice([field for field in image.fields if field.kind == "bytes"])
    data[field.offset : field.offset + field.size] = rng.randbytes(field.size)


def exchange(rng: random.Random, image: raw.Image, data: bytearray) -> None:
    """The content of one field in the place of another of its kind and size."""
    one = rng.choice(image.fields)
    other = rng.choice([field for field in image.fields if (field.kind, field.size) == (one.kind, one.size)])
    a, b = slice(one.offset, one.offset + one.size), slice(other.offset, other.offset + other.size)
    data[a], data[b] = data[b], data[a]


def repeat_or_drop(rng: random.Random, image: raw.Image, data: bytearray) -> None:
    """A stretch of whole fields (a key, a tensor, a string) written twice, or left out."""
    first = rng.randrange(len(image.fields))
    last = image.fields[min(first + rng.randrange(1, 9), len(image.fields)) - 1]
    start, end = image.fields[first].offset, last.offset + last.size
    if rng.random() < 0.5:
        data[end:end] = data[start:end]
    else:
        del data[start:end]


def resize(rng: random.Random, image: raw.Image, data: bytearray) -> None:
    """The file cut at a field or anywhere, or with bytes added at the end or in between."""
    at = rng.choice([rng.choice(image.fields).offset, rng.randrange(len(data) + 1), len(data)])
    if rng.random() < 0.5:
        del data[at:]
    else:
        data[at:at] = rng.choice([rng.randbytes, bytes])(rng.choice([1, 4, 8, 32, 100]))


MUTATIONS: list[Callable[[random.Random, raw.Image, bytearray], None]] = [
    set_number,
    set_number,
    set_type,
    set_bytes,
    exchange,
    repeat_or_drop,
    resize,
]


def mutated(rng: random.Random, image: raw.Image) -> bytes:
    """The image with one to three mutations."""
    data = bytearray(image.data)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        rng.choice(MUTATIONS)(rng, image, data)
    return bytes(data)


def odd_keys(rng: random.Random) -> bytes:
    """A file that is built right from random parts: names that repeat, counts that lie, shapes of every size."""
    keys = [raw.scalar(rng.choice("abcdefgh"), kind, 1) for kind in rng.sample(list(raw.CODES), rng.randrange(4))]
    keys += [raw.array("t", raw.STRING, ["x"] * rng.randrange(4), rng.choice([None, None, 0, 2**40]))]
    shapes = [
        tuple(rng.choice([0, 1, 32, 256, 2**33]) for _ in range(rng.randrange(5))) for _ in range(rng.randrange(4))
    ]
    tensors = [raw.Tensor(rng.choice("abcdefgh"), ne, rng.choice([0, 1, 2, 8, 12, 24])) for ne in shapes]
    return bytes(raw.build(keys, tensors, version=rng.choice([2, 3])).data)


def flipped(rng: random.Random, image: raw.Image) -> bytes:
    """The image with one byte of its header changed, sometimes a few."""
    data = bytearray(image.data)
    header = image.fields[-1].offset + image.fields[-1].size
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        data[rng.randrange(header)] ^= rng.randrange(1, 256)
    return bytes(data)


def shards() -> list[raw.Image]:
    """The two files of a good split model."""
    numbers = [raw.scalar("split.count", raw.U16, 2), raw.scalar("split.tensors.count", raw.I32, 2)]
    return [raw.build([raw.scalar("split.no", raw.U16, i), *numbers], [raw.Tensor("ab"[i])]) for i in range(2)]


def files(plan: str, count: int) -> Iterator[list[bytes]]:
    """The models of a plan, file by file: each has its own seed, so that one can be made again alone."""
    good, parts = raw.good(), shards()
    for index in range(count):
        rng = random.Random(f"{plan}-{index}")
        if plan == "flip":
            yield [flipped(rng, good)]
        elif plan == "split":
            one = mutated(rng, parts[index % 2])
            yield [one, bytes(parts[1].data)] if index % 2 == 0 else [bytes(parts[0].data), one]
        else:
            yield [odd_keys(rng) if index % 8 == 0 else mutated(rng, rng.choice(bases()))]


# ---- child ------------------------------------------------------------


def read_all(gguf: GGUF, sizes: list[int]) -> None:
    """Touches every value and every byte of every tensor; each must lie in the file."""
    for key, value in gguf.metadata.items():
        entry = gguf.metadata.entry(key)
        assert entry.key_offset < entry.offset <= entry.end <= sizes[0]
        assert entry.size is None or len(value) == entry.size
    for name, info in gguf.tensors.items():
        data = gguf.data(name)
        assert info.offset > 0 and info.offset + info.nbytes <= sizes[info.shard] and data.size == info.nbytes
        int(data.sum())


def differs(gguf: GGUF, paths: list[Path]) -> str | None:
    """What the gguf package reads otherwise from an accepted file; raises where it cannot read it."""
    import gguf as oracle

    readers = [oracle.GGUFReader(path) for path in paths]
    fields = {key: field for key, field in readers[0].fields.items() if not key.startswith("GGUF.")}
    theirs = {key: repr(field.contents()) for key, field in fields.items()}
    lists = {key: getattr(value, "tolist", lambda v=value: v)() for key, value in gguf.metadata.items()}
    ours = {key: repr(value) for key, value in lists.items()}
    if ours != theirs:
        return f"metadata {ours} against {theirs}"
    found = [(t.name, t.tensor_type.name, t.shape.tolist(), t.data_offset) for r in readers for t in r.tensors]
    contents = [t.data.tobytes() for r in readers for t in r.tensors]
    if [(i.name, i.format, [*i.shape[::-1]], i.offset) for i in gguf.tensors.values()] != found:
        return f"tensors {gguf.tensors} against {found}"
    return None if [gguf.data(name).tobytes() for name in gguf.tensors] == contents else "tensor data"


def examine(paths: list[Path], counts: Counter, reasons: set[str]) -> None:
    """One model: refused with a typed error, or read to the end and compared."""
    try:
        opened = GGUF.open(paths[0])
    except ModelFormatError as error:
        assert error.path in map(str, paths) and len(str(error)) < 1000
        assert error.offset is not None or "has no split" in error.reason  # a key that is missing is nowhere
        counts["refused"] += 1
        reasons.add("".join(char for char in error.reason.split("'")[0] if not char.isdigit()))
        return
    with opened as gguf:
        read_all(gguf, [path.stat().st_size for path in paths])
        try:
            difference = differs(gguf, paths[: len(gguf.shards)])
        except Exception:  # strings that are not UTF-8, types it does not know: nothing to compare with
            return
        assert difference is None, difference
        counts["compared"] += 1


def child(folder: Path, plan: str, count: int) -> None:
    import resource

    import gguf as oracle

    assert oracle.GGUFReader  # loaded before memory is limited and measured
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    warnings.simplefilter("ignore")  # of trailing bytes
    counts, reasons, slowest = Counter(), set[str](), 0.0
    paths = [folder / f"mutated-{part}-of-00002.gguf" for part in ("00001", "00002")]
    handles, memory = len(os.listdir("/proc/self/fd")), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for index, contents in enumerate(files(plan, count)):
        for path, content in zip(paths, contents, strict=False):
            path.unlink(missing_ok=True)  # ext4 would flush a file that is overwritten: slow
            path.write_bytes(content)
        start = time.process_time()
        try:
            examine(paths[: len(contents)], counts, reasons)
        except BaseException:
            traceback.print_exc()
            sys.exit(f"file {plan}-{index} ended in none of the allowed ways")
        slowest = max(slowest, time.process_time() - start)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    leaked = len(os.listdir("/proc/self/fd")) - handles
    report = {"files": count, "slowest": slowest, "grown_kib": grown, "handles": leaked, "reasons": len(reasons)}
    print(json.dumps(report | counts))


if __name__ == "__main__":
    child(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
