// import: codes32
// Q4_1: value = d · code + m. codes: one vec4<u32> per block of 32 values; byte i holds codes i (low) and i + 16
// (high). scales: one word per block, f16 d and m.

fn four_codes(nibbles: u32) -> vec4<f32> {
    return vec4<f32>(unpack4xU8(nibbles & 0x0f0f0f0fu));
}

fn block_codes(block: u32) -> array<vec4<f32>, 8> {
    let c = w_codes[block];
    return array<vec4<f32>, 8>(
        four_codes(c.x), four_codes(c.y), four_codes(c.z), four_codes(c.w),
        four_codes(c.x >> 4u), four_codes(c.y >> 4u), four_codes(c.z >> 4u), four_codes(c.w >> 4u),
    );
}

fn block_values(block: u32) -> array<vec4<f32>, 8> {
    let scale = unpack2x16float(w_scales[block]);
    return affine32(block_codes(block), scale.x, scale.y);
}
