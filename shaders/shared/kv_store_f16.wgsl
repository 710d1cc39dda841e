// import: half
// Writing f16 pages: a slot is head_dim / 2 words, two values a word. A unit is one word.

fn store_units() -> u32 { return params.head_dim >> 1u; }

fn store_unit(slot: u32, unit: u32, source: u32) {
    let at = slot * (params.head_dim >> 1u) + unit;
    let first = source + unit * 2u;
    kv_k[at] = half_bits(k[first]) | half_bits(k[first + 1u]) << 16u;
    kv_v[at] = half_bits(v[first]) | half_bits(v[first + 1u]) << 16u;
}
