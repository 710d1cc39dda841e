// import: codes32
// IQ4_NL: value = d · TABLE[code]. codes: one vec4<u32> per block of 32 values; byte i holds codes i (low) and i + 16
// (high). scales: f16 d, two blocks a word.

const TABLE = array<u32, 4>( // 16 int8 values, four a word
    0xbfad9881u, // -127 -104 -83 -65
    0xf6eaddcfu, // -49 -35 -22 -10
    0x26190d01u, // 1 13 25 38
    0x71594535u, // 53 69 89 113
);

fn block_scale(block: u32) -> f32 {
    return unpack2x16float(w_scales[block >> 1u])[block & 1u];
}

fn table_value(code: u32) -> f32 {
    let low = select(TABLE[0], TABLE[1], (code & 4u) != 0u);
    let high = select(TABLE[2], TABLE[3], (code & 4u) != 0u);
    return f32(extractBits(bitcast<i32>(select(low, high, (code & 8u) != 0u)), (code & 3u) * 8u, 8u));
}

fn four_codes(nibbles: u32) -> vec4<f32> {
    let codes = unpack4xU8(nibbles & 0x0f0f0f0fu);
    return vec4<f32>(table_value(codes.x), table_value(codes.y), table_value(codes.z), table_value(codes.w));
}

fn block_codes(block: u32) -> array<vec4<f32>, 8> {
    let c = w_codes[block];
    return array<vec4<f32>, 8>(
        four_codes(c.x), four_codes(c.y), four_codes(c.z), four_codes(c.w),
        four_codes(c.x >> 4u), four_codes(c.y >> 4u), four_codes(c.z >> 4u), four_codes(c.w >> 4u),
    );
}

fn block_values(block: u32) -> array<vec4<f32>, 8> {
    return scale32(block_codes(block), block_scale(block));
}
