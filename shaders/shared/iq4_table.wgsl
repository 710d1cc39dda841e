// The 16 values of a code of IQ4_NL and IQ4_XS, and 32 codes of 16 bytes made values: byte i holds codes i (low) and
// i + 16 (high).

const IQ4_VALUES = array<u32, 4>( // int8, four a word
    0xbfad9881u, // -127 -104 -83 -65
    0xf6eaddcfu, // -49 -35 -22 -10
    0x26190d01u, // 1 13 25 38
    0x71594535u, // 53 69 89 113
);

fn iq4_value(code: u32) -> f32 {
    let low = select(IQ4_VALUES[0], IQ4_VALUES[1], (code & 4u) != 0u);
    let high = select(IQ4_VALUES[2], IQ4_VALUES[3], (code & 4u) != 0u);
    return f32(extractBits(bitcast<i32>(select(low, high, (code & 8u) != 0u)), (code & 3u) * 8u, 8u));
}

fn iq4_four(nibbles: u32) -> vec4<f32> {
    let codes = unpack4xU8(nibbles & 0x0f0f0f0fu);
    return vec4<f32>(iq4_value(codes.x), iq4_value(codes.y), iq4_value(codes.z), iq4_value(codes.w));
}

fn iq4_values(c: vec4<u32>) -> array<vec4<f32>, 8> {
    return array<vec4<f32>, 8>(
        iq4_four(c.x), iq4_four(c.y), iq4_four(c.z), iq4_four(c.w),
        iq4_four(c.x >> 4u), iq4_four(c.y >> 4u), iq4_four(c.z >> 4u), iq4_four(c.w >> 4u),
    );
}
