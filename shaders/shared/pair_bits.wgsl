// 32 codes of two bits in two words: byte i of the eight holds codes i, i + 8, i + 16 and i + 24, lowest bits first.

const THREES = vec4<u32>(0x03030303u);

// The words of block `block` & 1 of the two that share 16 bytes.
fn pair_words(both: vec4<u32>, block: u32) -> vec2<u32> {
    return select(both.xy, both.zw, (block & 1u) == 1u);
}

fn low_pairs(bits: vec2<u32>) -> vec4<u32> { // codes 0-15, one a byte
    return vec4<u32>(bits, bits >> vec2<u32>(2u)) & THREES;
}

fn high_pairs(bits: vec2<u32>) -> vec4<u32> {
    return vec4<u32>(bits >> vec2<u32>(4u), bits >> vec2<u32>(6u)) & THREES;
}
