// import: codes32
// Q5_0: value = d · (code - 16). codes: one vec4<u32> per block of 32 values; byte i holds the lower four bits of
// codes i (low) and i + 16 (high). scales: two words per block, the fifth bits (bit i is code i's) and f16 d.

fn four_codes(nibbles: u32, fifth: u32) -> vec4<f32> {
    let high = ((fifth & 1u) << 4u) | ((fifth & 2u) << 11u) | ((fifth & 4u) << 18u) | ((fifth & 8u) << 25u);
    return vec4<f32>(unpack4xU8((nibbles & 0x0f0f0f0fu) | high)) - 16.0;
}

fn block_codes(block: u32) -> array<vec4<f32>, 8> {
    let c = w_codes[block];
    let h = w_scales[block * 2u];
    return array<vec4<f32>, 8>(
        four_codes(c.x, h), four_codes(c.y, h >> 4u), four_codes(c.z, h >> 8u), four_codes(c.w, h >> 12u),
        four_codes(c.x >> 4u, h >> 16u), four_codes(c.y >> 4u, h >> 20u),
        four_codes(c.z >> 4u, h >> 24u), four_codes(c.w >> 4u, h >> 28u),
    );
}

fn block_values(block: u32) -> array<vec4<f32>, 8> {
    return scale32(block_codes(block), unpack2x16float(w_scales[block * 2u + 1u]).x);
}
