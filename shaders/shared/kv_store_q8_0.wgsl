// import: half, exact_division
// Writing q8_0 pages: 9 words per 32 values, 8 of int8 codes and the f16 scale d = max|x| / 127. A unit is one block
// of the head in `row`.

fn store_units() -> u32 { return params.head_dim >> 5u; }

fn store_unit(slot: u32, block: u32, is_v: bool) {
    let at = (slot * (params.head_dim >> 5u) + block) * 9u;
    var highest = 0.0;
    for (var i = 0u; i < 32u; i++) { highest = max(highest, abs(row[block * 32u + i])); }
    let d = over_127(highest);
    var inverse = 0.0; // where d is so small that its f16 is zero
    if d >= 1.0e-30 { inverse = inverse_of(d); }
    for (var i = 0u; i < 8u; i++) {
        let first = block * 32u + i * 4u;
        let four = vec4<f32>(row[first], row[first + 1u], row[first + 2u], row[first + 3u]);
        put(at + i, pack4xI8(rounded(four * inverse)), is_v);
    }
    put(at + 8u, half_bits(d), is_v);
}

// Half away from zero.
fn rounded(x: vec4<f32>) -> vec4<i32> {
    let whole = trunc(x);
    return vec4<i32>(whole + trunc(2.0 * (x - whole)));
}
