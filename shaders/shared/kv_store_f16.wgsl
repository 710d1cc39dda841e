// import: half
// Writing f16 pages: a slot is head_dim / 2 words, two values a word. A unit is one word of the head in `row`.

fn store_units() -> u32 { return params.head_dim >> 1u; }

fn store_unit(slot: u32, unit: u32, is_v: bool) {
    let word = half_bits(row[unit * 2u]) | half_bits(row[unit * 2u + 1u]) << 16u;
    put(slot * (params.head_dim >> 1u) + unit, word, is_v);
}
