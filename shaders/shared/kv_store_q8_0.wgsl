// import: half, exact_division
// Writing q8_0 pages: 9 words per 32 values, 8 of int8 codes and the f16 scale d = max|x| / 127. A unit is one block
// of K (even) or V (odd).

fn store_units() -> u32 { return params.head_dim >> 4u; }

fn store_unit(slot: u32, unit: u32, source: u32) {
    let block = unit >> 1u;
    let at = (slot * (params.head_dim >> 5u) + block) * 9u;
    let is_v = (unit & 1u) == 1u;
    var values = array<f32, 32>();
    var highest = 0.0;
    for (var i = 0u; i < 32u; i++) {
        let from_k = k[source + block * 32u + i];
        values[i] = select(from_k, v[source + block * 32u + i], is_v);
        highest = max(highest, abs(values[i]));
    }
    let d = over_127(highest);
    var inverse = 0.0; // where d is so small that its f16 is zero
    if d >= 1.0e-30 { inverse = inverse_of(d); }
    for (var i = 0u; i < 8u; i++) {
        let four = vec4<f32>(values[i * 4u], values[i * 4u + 1u], values[i * 4u + 2u], values[i * 4u + 3u]);
        put(at + i, pack4xI8(rounded(four * inverse)), is_v);
    }
    put(at + 8u, half_bits(d), is_v);
}

fn put(at: u32, word: u32, is_v: bool) {
    if is_v { kv_v[at] = word; } else { kv_k[at] = word; }
}

// Half away from zero.
fn rounded(x: vec4<f32>) -> vec4<i32> {
    let whole = trunc(x);
    return vec4<i32>(whole + trunc(2.0 * (x - whole)));
}
