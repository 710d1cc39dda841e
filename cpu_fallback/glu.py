"""glu: act(gate) · up."""

from __future__ import annotations

from cpu_fallback.activations import PART, activated
from cpu_fallback.jit import kernel, span
from cpu_fallback.lanes import LANES, ZERO, load_up_to, shares, store_up_to


def parts(*, tokens: int, cols: int, **_: int) -> int:
    return shares(tokens * -(-cols // LANES), tokens * cols, PART)


@kernel
def glu(gate_up, out, tokens, cols, activation, part, parts, scratch):
    """gate_up (tokens, 2, cols) -> out (tokens, cols)."""
    vectors = (cols + LANES - 1) // LANES
    first, last = span(tokens * vectors, part, parts)
    for unit in range(first, last):
        t, i = unit // vectors, unit % vectors * LANES
        gate, up, target = (2 * t) * cols, (2 * t + 1) * cols, t * cols
        value = activated(load_up_to(gate_up, gate + i, gate + cols, ZERO, scratch), activation)
        value = value * load_up_to(gate_up, up + i, up + cols, ZERO, scratch)
        store_up_to(out, target + i, target + cols, value, scratch)
    return 0
