"""The building blocks of the CPU kernels: float16 bits, block formats, thread counts, the kernel cache."""

from __future__ import annotations

import math
import os
import warnings

import numba
import numpy as np
import pytest

from cpu_fallback import checks, half, kernel_cache, threads
from cpu_fallback.formats import DEQUANTIZE_ROW
from cpu_fallback.jit import cached
from cpu_fallback.quota import quota
from wgpu_infer.formats import quants


@numba.njit
def to_float(bits, out):
    for i in range(bits.size):
        out[i] = half.half_to_float(bits[i])


@numba.njit
def to_half(values, out):
    for i in range(values.size):
        out[i] = half.float_to_half(values[i])


def quiet(bits, values, bit):
    """bits with every NaN's quiet bit set: whether a conversion sets it depends on how numpy was built."""
    return np.where(np.isnan(values), bits | bits.dtype.type(bit), bits)


def test_every_half_becomes_the_float_that_numpy_makes_of_it():
    bits = np.arange(65536, dtype=np.uint16)
    out = np.empty(65536, np.float32)
    to_float(bits, out)
    want = bits.view(np.float16).astype(np.float32)
    np.testing.assert_array_equal(quiet(out.view(np.uint32), want, 1 << 22), quiet(want.view(np.uint32), want, 1 << 22))


def test_floats_are_rounded_to_half_as_numpy_does():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 1_000_000, np.uint32)
    every_half = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32).view(np.uint32)
    ties = every_half + np.uint32(1 << 12)  # halfway to the next half, and one step to either side
    values = np.concatenate([bits, every_half, ties, ties - 1, ties + 1]).view(np.float32)
    out = np.empty(values.size, np.uint16)
    to_half(values, out)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # overflow is a part of the test
        want = values.astype(np.float16).view(np.uint16)
    np.testing.assert_array_equal(quiet(out, values, 1 << 9), quiet(want, values, 1 << 9))


def test_kernels_read_the_formats_of_the_table():
    assert set(DEQUANTIZE_ROW) == {f.ggml_type for f in quants.FORMATS.values()}


@pytest.mark.parametrize("name", quants.FORMATS)
def test_any_bytes_dequantise_to_the_bits_of_the_table(name):
    """Random bytes: scales that are infinite, NaN, subnormal and negative all occur."""
    row = quants.get_format(name)
    dequantize = DEQUANTIZE_ROW[row.ggml_type]
    blocks, skip = 2048 // row.block_size * 4, 2 * row.block_bytes
    data = np.random.default_rng(row.ggml_type).integers(0, 256, skip + blocks * row.block_bytes, np.uint8)
    out = np.full(blocks * row.block_size + 8, 7, np.float32)
    dequantize(data, skip, out.size - 8, out)
    want = quants.dequantize(data[skip:], name, (out.size - 8,))
    np.testing.assert_array_equal(np.isnan(out[:-8]), np.isnan(want))
    finite = ~np.isnan(want)
    np.testing.assert_array_equal(out[:-8][finite].view(np.uint32), want[finite].view(np.uint32))
    assert (out[-8:] == 7).all()


def test_index_checks_name_the_first_bad_row():
    index = np.array([[0, 0, 63, 0], [5, 1, 64, 0], [7, 1, 128, 0]], np.uint32)
    assert checks.first_outside(index, checks.ID, 3, 0, 8) == 0
    assert checks.first_outside(index, checks.ID, 3, 0, 6) == 3
    assert checks.first_outside(index, checks.ID, 3, 1, 8) == 1
    table = np.zeros((2, 3), np.uint32)
    assert not any(checks.is_beyond(index, t, table) for t in range(3))
    assert [checks.is_beyond(index, t, table[:1]) for t in range(3)] == [False, True, True]
    assert [checks.is_beyond(index, t, np.zeros((2, 2), np.uint32)) for t in range(3)] == [False, False, True]


def test_hardware_threads_of_a_core_count_once(tmp_path, monkeypatch):
    for cpu in range(6):
        path = tmp_path / f"cpu{cpu}"
        path.mkdir()
        (path / threads.SIBLINGS[cpu % 2]).write_text(f"{cpu % 3},{cpu % 3 + 3}\n")
    monkeypatch.setattr(threads, "TOPOLOGY", str(tmp_path / "cpu{}" / "{}"))
    monkeypatch.setattr(threads, "most", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 3, 4}, raising=False)
    assert threads.physical_cores() == 2
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3, 9}, raising=False)
    assert threads.physical_cores() == 4, "a cpu that the system says nothing of is a core of its own"
    monkeypatch.setattr(threads, "quota", lambda: 1.5)
    assert threads.physical_cores() == 2, "a container's limit of processor time, rounded up"
    monkeypatch.setattr(threads, "most", lambda: 1)
    assert threads.physical_cores() == 1


def test_quota_is_the_least_of_a_group_and_those_above(tmp_path):
    own, root = tmp_path / "own", tmp_path / "cgroup"
    inner = root / "pod" / "box"
    inner.mkdir(parents=True)
    own.write_text("0::/pod/box\n")
    assert quota(root, own) == quota(root, tmp_path / "absent") == math.inf
    (inner / "cpu.max").write_text("max 100000\n")
    assert quota(root, own) == math.inf
    (root / "pod" / "cpu.max").write_text("150000 100000\n")
    assert quota(root, own) == 1.5
    (root / "cpu.max").write_text("50000 100000\n")
    assert quota(root, own) == 0.5


def test_quota_of_cgroups_version_1(tmp_path):
    own, root = tmp_path / "own", tmp_path / "cgroup"
    folder = root / "cpu" / "box"
    folder.mkdir(parents=True)
    own.write_text("3:memory:/other\n4:cpu,cpuacct:/box\n0::/\n")
    for name, value in (("quota", -1), ("period", 100000)):
        (folder / f"cpu.cfs_{name}_us").write_text(f"{value}\n")
    assert quota(root, own) == math.inf
    (folder / "cpu.cfs_quota_us").write_text("300000\n")
    assert quota(root, own) == 3


def double(x, out):
    for i in range(x.size):
        out[i] = 2 * x[i]


@pytest.fixture
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(kernel_cache, "folder", lambda: tmp_path)
    return tmp_path


def run_double(dtype=np.float32) -> tuple[list, int]:
    """What a freshly made kernel computes, and how often it came from the cache."""
    fresh = cached(double)
    out = np.zeros(3, dtype)
    fresh(np.arange(3, dtype=dtype), out)
    return out.tolist(), sum(fresh.stats.cache_hits.values())


def test_a_kernel_is_compiled_once_per_signature(cache_folder):
    assert run_double() == ([0, 2, 4], 0)
    assert run_double() == ([0, 2, 4], 1)
    assert run_double(np.int32) == ([0, 2, 4], 0)
    assert run_double(np.int32) == ([0, 2, 4], 1)
    assert len(list(cache_folder.iterdir())) == 2


def swap(first, second):
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)


DAMAGE = {
    "empty": lambda a, b: a.write_bytes(b""),
    "truncated": lambda a, b: a.write_bytes(a.read_bytes()[:-100]),
    "garbage": lambda a, b: a.write_bytes(os.urandom(5000)),
    "one bit": lambda a, b: a.write_bytes(a.read_bytes()[:-1] + bytes([a.read_bytes()[-1] ^ 1])),
    "swapped": swap,
    "a folder": lambda a, b: (a.unlink(), a.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_a_miss(cache_folder, caplog, damage):
    run_double(np.float32)
    (first,) = cache_folder.iterdir()
    run_double(np.int32)
    (second,) = set(cache_folder.iterdir()) - {first}
    DAMAGE[damage](first, second)
    assert run_double() == ([0, 2, 4], 0)
    assert "compiling" in caplog.text and "double" in caplog.text


def test_a_file_that_verifies_but_cannot_be_rebuilt_is_a_miss(cache_folder, caplog):
    fresh = cached(double)
    types = (numba.typeof(np.zeros(3, np.float32)),) * 2
    key = fresh._cache._key(types, fresh.targetctx.codegen())
    fresh._cache._path(key).write_bytes(kernel_cache.seal(b"not a pickle", key))
    assert run_double() == ([0, 2, 4], 0)
    assert "unusable" in caplog.text
    assert run_double() == ([0, 2, 4], 1), "the file was replaced"


def test_old_folders_are_pruned(tmp_path):
    for i in range(8):
        (tmp_path / f"py{i}").mkdir()
        os.utime(tmp_path / f"py{i}", (i, i))
    (tmp_path / "other").mkdir()
    kernel_cache.prune(tmp_path / "py0")
    assert {each.name for each in tmp_path.iterdir()} == {"other", "py0", "py4", "py5", "py6", "py7"}


@pytest.mark.skipif(os.name == "nt", reason="the folder lies in the user's profile there")
def test_a_folder_that_others_can_write_is_refused(tmp_path):
    tmp_path.chmod(0o777)
    with pytest.raises(OSError, match="only you"):
        kernel_cache.check_private(tmp_path)
    tmp_path.chmod(0o700)
    kernel_cache.check_private(tmp_path)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(OSError, match="only you"):
        kernel_cache.check_private(link)
