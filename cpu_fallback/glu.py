"""glu: act(gate) · up."""

from __future__ import annotations

from cpu_fallback.activations import PART, activated
from cpu_fallback.jit import kernel, span
from cpu_fallback.lanes import LANES, ZERO, load_up_to, shares, store_up_to


def parts(*, n: int, **_: int) -> int:
    return shares(-(-n // LANES), n, PART)


@kernel
def glu(gate, up, out, n, activation, part, parts, scratch):
    """gate, up (n) -> out (n)."""
    first, last = span(-(-n // LANES), part, parts)
    for i in range(first * LANES, last * LANES, LANES):
        value = activated(load_up_to(gate, i, n, ZERO, scratch), activation) * load_up_to(up, i, n, ZERO, scratch)
        store_up_to(out, i, n, value, scratch)
    return 0
