// import: codes32
// The 16 int8 values of a code of IQ4_NL and IQ4_XS, looked up for the 16 codes in the lower halves of 16 bytes.

const IQ4_VALUES = array<u32, 4>( // four a word
    0xbfad9881u, // -127 -104 -83 -65
    0xf6eaddcfu, // -49 -35 -22 -10
    0x26190d01u, // 1 13 25 38
    0x71594535u, // 53 69 89 113
);

fn iq4_word(nibbles: u32) -> u32 {
    let codes = unpack4xU8(nibbles);
    let odd = (codes & vec4<u32>(4u)) != vec4<u32>(0u);
    let low = select(vec4<u32>(IQ4_VALUES[0]), vec4<u32>(IQ4_VALUES[1]), odd);
    let high = select(vec4<u32>(IQ4_VALUES[2]), vec4<u32>(IQ4_VALUES[3]), odd);
    let four = select(low, high, (codes & vec4<u32>(8u)) != vec4<u32>(0u));
    return pack4xU8((four >> ((codes & vec4<u32>(3u)) << vec4<u32>(3u))) & vec4<u32>(0xffu));
}

fn iq4_values(c: vec4<u32>) -> vec4<u32> {
    let n = c & NIBBLES;
    return vec4<u32>(iq4_word(n.x), iq4_word(n.y), iq4_word(n.z), iq4_word(n.w));
}
