// import: codes32
// Q8_0: value = d · code. codes: 2 × vec4<u32> per block of 32 values, an int8 a byte. scales: f16 d, two blocks a
// word.

fn block_scale(block: u32) -> f32 {
    return unpack2x16float(w_scales[block >> 1u])[block & 1u];
}

fn four_codes(word: u32) -> vec4<f32> {
    return vec4<f32>(unpack4xI8(word));
}

fn block_codes(block: u32) -> array<vec4<f32>, 8> {
    let a = w_codes[block * 2u];
    let b = w_codes[block * 2u + 1u];
    return array<vec4<f32>, 8>(
        four_codes(a.x), four_codes(a.y), four_codes(a.z), four_codes(a.w),
        four_codes(b.x), four_codes(b.y), four_codes(b.z), four_codes(b.w),
    );
}

fn block_values(block: u32) -> array<vec4<f32>, 8> {
    return scale32(block_codes(block), block_scale(block));
}
