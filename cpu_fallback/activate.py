"""activate: x = act(x) in place."""

from __future__ import annotations

from cpu_fallback.activations import PART, activated
from cpu_fallback.jit import kernel, span
from cpu_fallback.lanes import LANES, ZERO, load_up_to, shares, store_up_to


def parts(*, n: int, **_: int) -> int:
    return shares(-(-n // LANES), n, PART)


@kernel
def activate(x, n, activation, part, parts, scratch):
    """x (n)."""
    first, last = span(-(-n // LANES), part, parts)
    for i in range(first * LANES, last * LANES, LANES):
        store_up_to(x, i, n, activated(load_up_to(x, i, n, ZERO, scratch), activation), scratch)
    return 0
