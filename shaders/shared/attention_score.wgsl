// What becomes of a query's product with a key (contracts/attention.py says what the parameters mean).

const LOWEST = -3.0e38; // below any score; WGSL has no literal for infinity

// Scaled, and softly capped: drivers' tanh may overflow.
fn score_of(product: f32) -> f32 {
    let score = product * params.scale;
    if params.softcap <= 0.0 { return score; }
    return params.softcap * tanh(clamp(score / params.softcap, -15.0, 15.0));
}

fn slope_of(head: u32) -> f32 { // ALiBi
    if params.alibi <= 0.0 { return 0.0; }
    let n = 1u << firstLeadingBit(params.heads); // the largest power of 2
    let step = select(f32(head - n) + 0.5, f32(head) + 1.0, head < n);
    return exp2(-params.alibi * step / f32(n));
}

// The first key that a token sees.
fn first_key(position: u32) -> u32 {
    return select(0u, position + 1u - min(params.window, position + 1u), params.window > 0u);
}
