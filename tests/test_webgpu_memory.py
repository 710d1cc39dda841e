"""Device memory: size classes and reuse, arenas of weights, what is counted, and that generating allocates nothing."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest

import wgpu_infer as wi
from wgpu_infer.backends.memory import Ledger, Memory
from wgpu_infer.backends.webgpu import pool as pools
from wgpu_infer.backends.webgpu.arenas import ALIGNMENT, Arenas
from wgpu_infer.backends.webgpu.backend import WebGPUBackend
from wgpu_infer.backends.webgpu.pool import MIN_BYTES, Pool, size_class
from wgpu_infer.contracts.cases import activations, random_weight
from wgpu_infer.contracts.table import OPS
from wgpu_infer.errors import OutOfMemoryError


class Made:
    """Stands for a buffer of wgpu's."""

    def __init__(self, size: int):
        self.size = size


class Maker:
    """Counts what it makes and clears; refuses more than `room` bytes at once."""

    def __init__(self, room: int = 1 << 40):
        self.sizes: list[int] = []
        self.cleared: list[tuple[int, int]] = []
        self.room = room

    def create(self, size: int, label: str) -> Made:
        if size > self.room:
            raise OutOfMemoryError(label)
        self.sizes.append(size)
        return Made(size)

    def clear(self, made: Made, nbytes: int) -> None:
        self.cleared.append((made.size, nbytes))


@pytest.fixture
def maker():
    return Maker()


@pytest.fixture
def pool(maker):
    return Pool(maker.create, maker.clear, 1 << 30)


def test_size_classes_are_eight_per_octave():
    assert size_class(16) == size_class(MIN_BYTES) == MIN_BYTES
    classes = sorted({size_class(n) for n in range(1025, 4097, 16)})
    assert len(classes) == 16 and classes[0] == 1152 and classes[-1] == 4096
    for n in range(16, 100_000, 48):
        assert n <= size_class(n) <= max(MIN_BYTES, n * 9 / 8 + 16) and size_class(size_class(n)) == size_class(n)


def test_a_dropped_lease_is_used_again_for_its_class(pool, maker):
    first = pool.lease(4000)
    handle, serial = first.handle, first.serial
    assert (first.size, first.offset, maker.sizes, maker.cleared) == (4000, 0, [4096], [])
    del first
    again = pool.lease(3600)
    assert again.handle is not handle and maker.sizes == [4096, 3840], "3,600 bytes are of another class"
    third = pool.lease(4096)
    assert third.handle is handle and third.serial != serial and third.size == 4096
    assert maker.cleared == [(4096, 4096)], "it reads as zeros again"


def test_a_pool_counts_bytes(pool):
    a, b = pool.lease(4096), pool.lease(1024)
    assert (pool.reserved, pool.used, pool.high_water) == (5120, 5120, 5120)
    del a
    assert (pool.reserved, pool.used, pool.high_water) == (5120, 1024, 5120)
    pool.trim()
    assert (pool.reserved, pool.used) == (1024, 1024) and b.size == 1024


def test_a_pool_keeps_a_bounded_stock(pool, maker, monkeypatch):
    monkeypatch.setattr(pools, "KEPT", 10_000)
    leases = [pool.lease(n) for n in (1024, 4096, 8192)]
    leases.clear()
    assert pool.reserved == 5120, "the largest went back"
    assert pool.lease(8192) is not None and len(maker.sizes) == 4


def test_a_class_above_the_largest_binding_is_cut(maker):
    pool = Pool(maker.create, maker.clear, 5000)
    assert pool.lease(4992).size == 4992 and maker.sizes == [5000]


def test_arenas_pack_what_is_expected(maker):
    arenas = Arenas(maker.create, 1 << 20)
    arenas.expect(5000)
    ranges = [arenas.take(n) for n in (1000, 17, 2000, 1500)]
    assert maker.sizes == [5120] and len({r.handle for r in ranges}) == 1
    assert [r.offset for r in ranges] == [0, 1024, 1280, 3328] and [r.size for r in ranges] == [1008, 32, 2000, 1504]
    more = arenas.take(3000)
    assert maker.sizes == [5120, 3072] and more.offset == 0 and more.serial not in {r.serial for r in ranges}
    assert len({r.serial for r in ranges}) == 4


def test_arenas_are_bounded_and_shared(maker):
    arenas = Arenas(maker.create, 4096 + 100)
    arenas.expect(1 << 30)
    ranges = [arenas.take(n) for n in (3000, 3000, 1024, 8000)]
    assert maker.sizes == [4096, 4096, 8192], "what is larger than an arena gets one of its own"
    assert ranges[2].handle is ranges[0].handle and ranges[2].offset % ALIGNMENT == 0


def test_an_arena_is_freed_with_its_last_range(maker):
    arenas = Arenas(maker.create, 1 << 20)
    arenas.expect(4096)
    a, b = arenas.take(1024), arenas.take(1024)
    alive = weakref.ref(a.handle)
    del a
    assert alive() is b.handle
    del b
    assert alive() is None and arenas.take(256).offset == 0 and len(maker.sizes) == 2


def test_arenas_make_do_with_less():
    maker = Maker(room=3000)
    arenas = Arenas(maker.create, 1 << 20)
    arenas.expect(8192)
    assert arenas.take(1000).size == 1008 and maker.sizes == [2048]
    with pytest.raises(OutOfMemoryError):
        arenas.take(4000)


def test_a_ledger_counts_what_lives():
    ledger, owners = Ledger(), [Made(0) for _ in range(3)]
    for kind, nbytes, owner in zip(("weights", "kv", "arrays"), (100, 20, 3), owners, strict=True):
        ledger.hold(kind, nbytes, owner)
    assert ledger.memory() == Memory(100, 20, 3, 3, 3, 3)
    owners.clear()
    del owner
    assert ledger.memory() == Memory(0, 0, 0, 0, 3, 3)


def test_fragmentation():
    assert Memory(0, 0, 200, 150, 160, 1).fragmentation == 0.25
    assert Memory(0, 0, 0, 0, 0, 0).fragmentation == 0.0


@pytest.mark.webgpu
@pytest.mark.parametrize("textures, handles", [(False, 2), (True, 6)])
def test_weights_of_one_arena_compute_as_weights_of_their_own(webgpu, textures, handles):
    """Neighbours in a buffer do not touch each other, whatever their sizes; the last one lies outside the arena.
    Textures are their own always. Either is freed with its weight."""
    hosts = [random_weight(fmt, rows, 256, rows) for fmt, rows in (("Q4_0", 5), ("Q4_K", 7), ("F32", 3), ("Q8_0", 33))]
    x = activations(2, 256, seed=1)
    with WebGPUBackend(lowered={"textures": textures}) as backend:
        backend.expect_weights(sum(h.data.nbytes for h in hosts[:3]) + 6 * ALIGNMENT)
        held = [backend.weight(host) for host in hosts]
        pieces = [piece for weight in held for piece in weight.payload]
        assert len({part.handle for piece in pieces for part in (piece.codes, piece.scales)}) == handles
        assert backend.memory().weights >= sum(h.data.nbytes for h in hosts)
        for host, weight in zip(hosts, held, strict=True):
            params = {"tokens": 2, "rows": host.rows, "cols": 256, "row0": 0, "stride": host.rows}
            results = []
            for each, w in ((backend, weight), (webgpu, webgpu.weight(host))):
                out = each.empty((2, host.rows))
                each.run(OPS["matvec"], each.array(x), w, out, **params)
                results.append(each.read(out, (2, host.rows)))
            np.testing.assert_array_equal(*results)
        del held, weight, w, out, pieces
        gc.collect()
        backend.runtime.pipelines.drop_dead()
        assert backend.memory().weights == 0


@pytest.mark.webgpu
def test_used_memory_reads_as_zeros(webgpu):
    array = webgpu.array(np.full(777, 7, np.float32))
    made = webgpu.memory().buffers
    del array
    again = webgpu.empty((777,))
    assert webgpu.memory().buffers == made and not webgpu.read(again, (777,)).any()


@pytest.mark.webgpu
def test_memory_dropped_in_flight_keeps_its_work(webgpu):
    """Work that is queued or recorded on a dropped array goes first, whoever gets the memory next."""
    one = webgpu.array(np.ones(500, np.float32))
    out = webgpu.array(np.zeros(500, np.float32))
    for turn in range(5):
        x = webgpu.array(np.full(500, turn, np.float32))
        webgpu.run(OPS["add"], x, one, n=500, period=500)
        webgpu.run(OPS["add"], out, x, n=500, period=500)
        del x
    assert (webgpu.read(out, (500,)) == 15).all()


@pytest.mark.webgpu
def test_500_steps_make_no_buffer(webgpu, monkeypatch):
    """After warm-up a generation allocates nothing, and nearly all that is reserved is in use."""
    with WebGPUBackend() as backend, wi.LLM(device=backend) as llm:
        steps = wi.SamplingParams(max_tokens=llm.context - 2, temperature=0.0, ignore_eos=True)
        llm.generate([1], wi.SamplingParams(max_tokens=2, temperature=0.0))
        before = llm.memory()
        made = []
        create = backend.device.handle.create_buffer
        monkeypatch.setattr(backend.device.handle, "create_buffer", lambda **a: made.append(a) or create(**a))
        done = sum(len(llm.generate([1], steps).token_ids) for _ in range(-(-500 // (llm.context - 2))))
        assert done >= 500 and made == []
        assert llm.memory() == before and before.fragmentation < 0.05
        assert before.weights > 0 and before.kv > 0 and before.used > 0


@pytest.mark.webgpu
def test_2000_tokens_do_not_grow(webgpu, shared):
    """Far past the context it was trained for (512), up to the end of the one it was given, then up to its own."""
    path = shared("models", "stories260K-Q8_0.gguf")
    with wi.LLM(path, device="webgpu", context=2000) as llm:
        params = wi.SamplingParams(max_tokens=4000, temperature=0.0, ignore_eos=True)
        llm.generate([1], wi.SamplingParams(max_tokens=40, temperature=0.0, ignore_eos=True))
        before, resident = llm.memory(), resident_bytes()
        out = llm.generate([1], params)
        assert (out.finish_reason, len(out.token_ids)) == ("length", 1999)
        assert llm.memory() == before and resident_bytes() - resident < 4 << 20
    with wi.LLM(path, device="webgpu") as llm:
        out = llm.generate([1] * 500, params)
        assert (out.finish_reason, len(out.token_ids)) == ("length", llm.config.context - 500)


def resident_bytes() -> int:
    """0 where the system does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS")), 0)


@pytest.mark.parametrize("device", ["cpu", "reference", "webgpu"])
def test_memory_is_told_on_every_device(device, open_once):
    backend = open_once(device)
    array, host = backend.empty((1000,)), random_weight("Q8_0", 16, 64, 0)
    before = backend.memory()
    weight, kv = backend.weight(host), backend.kv(2, 1, 32, backend.empty((1, 2), np.uint32), "f16")
    more = backend.empty((4096,))
    after = backend.memory()
    assert before.used >= 4000 and after.used >= before.used + 16384 and after.high_water >= after.used
    assert after.weights >= before.weights + host.data.nbytes and after.kv == before.kv + 2 * 2 * 64 * 32 * 2
    assert after.reserved >= after.used and all(h is not None for h in (array, weight, kv, more))
    assert f"kv {after.kv / 1e6:.1f} MB" in str(after)
