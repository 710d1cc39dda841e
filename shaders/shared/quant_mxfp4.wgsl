// import: codes32
// MXFP4: value = 2^(e - 128) · table[code], the table being FP4 (E2M1) doubled. codes: one vec4<u32> per block of 32
// values; byte i holds codes i (low) and i + 16 (high). scales: the exponents e, a byte each.

fn fp4_value(code: u32) -> f32 {
    let word = select(0x03020100u, 0x0c080604u, (code & 4u) != 0u); // 0 1 2 3, 4 6 8 12
    let magnitude = f32((word >> ((code & 3u) * 8u)) & 0xffu);
    return select(magnitude, -magnitude, (code & 8u) != 0u);
}

fn four_codes(nibbles: u32) -> vec4<f32> {
    let codes = unpack4xU8(nibbles & 0x0f0f0f0fu);
    return vec4<f32>(fp4_value(codes.x), fp4_value(codes.y), fp4_value(codes.z), fp4_value(codes.w));
}

fn block_values(block: u32) -> array<vec4<f32>, 8> {
    let c = w_codes[block];
    let e = (w_scales[block >> 2u] >> ((block & 3u) * 8u)) & 0xffu;
    let scale = bitcast<f32>(select((e - 1u) << 23u, 0x200000u << (e & 1u), e < 2u)); // 0 and 1 are subnormal
    return scale32(
        array<vec4<f32>, 8>(
            four_codes(c.x), four_codes(c.y), four_codes(c.z), four_codes(c.w),
            four_codes(c.x >> 4u), four_codes(c.y >> 4u), four_codes(c.z >> 4u), four_codes(c.w >> 4u),
        ),
        scale,
    );
}
