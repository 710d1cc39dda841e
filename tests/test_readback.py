"""Reading later: what an array held between two ops, whenever it is asked for, on every backend."""

from __future__ import annotations

import numpy as np
import pytest

from wgpu_infer.backends.webgpu import native
from wgpu_infer.contracts.table import OPS
from wgpu_infer.scheduler import HybridScheduler

N = 70
BACKENDS = ["reference", "cpu", pytest.param("webgpu", marks=pytest.mark.webgpu)]


def sums(backend, reads):
    """What `reads` later reads give, one after each addition of 1."""
    x, one = backend.array(np.zeros(N, np.float32)), backend.array(np.ones(1, np.float32))
    taken = []
    for _ in range(reads):
        backend.run(OPS["add"], x, one, n=N, period=1)
        taken.append(backend.read_later(x, (N // 2, 2)))
    return taken


@pytest.mark.parametrize("name", BACKENDS)
def test_each_read_sees_what_was_there_when_it_was_asked_for(name, open_once):
    backend = open_once(name)
    for order in ([0, 1, 2, 3, 4], [4, 2, 0, 1, 3]):
        taken = sums(backend, 5)
        for i in order:
            np.testing.assert_array_equal(taken[i](), np.full((N // 2, 2), i + 1, np.float32))


@pytest.mark.webgpu
def test_staging_buffers_are_used_again(webgpu):
    for take in sums(webgpu, 3):
        take()
    before = webgpu.runtime.buffers.created
    for _ in range(4):
        values = [take() for take in sums(webgpu, 3)]
    assert values[2][0, 0] == 3
    assert webgpu.runtime.buffers.created - before <= 8, "two arrays a round at most, no staging buffers"


@pytest.mark.webgpu
def test_without_numbered_submissions_it_reads_all_the_same(webgpu, monkeypatch):
    def submit(queue, commands):
        queue.submit(commands)

    monkeypatch.setattr(native, "submit", submit)
    monkeypatch.setattr(native, "wait_for_submission", lambda *_: pytest.fail("there is no number to wait for"))
    assert [take()[3, 1] for take in sums(webgpu, 3)] == [1, 2, 3]


def test_the_scheduler_asks_its_active_side(open_once):
    reference = open_once("reference")
    scheduler = HybridScheduler({"reference": reference})
    assert not scheduler.can_run_ahead and not scheduler.is_software
    x = scheduler.array(np.arange(4, dtype=np.float32))
    np.testing.assert_array_equal(scheduler.read_later(x, (4,))(), np.arange(4))
