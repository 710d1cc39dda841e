// The activations of span n of TOKENS tokens: every invocation reads what it needs.

fn x_span(token0: u32, n: u32, blocks: u32, _lane: Lane) -> array<X8, SPAN * TOKENS> {
    var x = array<X8, SPAN * TOKENS>();
    for (var i = 0u; i < SPAN * TOKENS; i++) { x[i] = x_block(x_place(i, token0, n, blocks)); }
    return x;
}
