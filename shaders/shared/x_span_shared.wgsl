// The activations of span n of TOKENS tokens, at most eight blocks, for subgroups of eight invocations and more that
// all need the same: each reads one block and hands it around.

const_assert SPAN * TOKENS <= 8u && WG == 8u && LANES == 1u;

fn x_span(token0: u32, n: u32, blocks: u32, lane: Lane) -> array<X8, SPAN * TOKENS> {
    let mine = x_block(x_place(min(lane.inner, SPAN * TOKENS - 1u), token0, n, blocks));
    var x = array<X8, SPAN * TOKENS>();
    for (var i = 0u; i < SPAN * TOKENS; i++) {
        x[i] = X8(
            half_from(mine.low, i), half_from(mine.high, i),
            subgroupShuffle(mine.scale, i), subgroupShuffle(mine.sums, i),
        );
    }
    return x;
}

fn half_from(mine: Half, lane: u32) -> Half {
    var half = mine;
    for (var part = 0u; part < PARTS; part++) { half[part] = subgroupShuffle(mine[part], lane); }
    return half;
}
