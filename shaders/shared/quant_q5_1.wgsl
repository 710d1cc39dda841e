// import: codes, block_minimum, fifth_bits, dot_small
// Q5_1: value = d · code + m. codes: one vec4<u32> per block of 32 values; byte i holds the lower four bits of codes
// i (low) and i + 16 (high). scales: two words per block, the fifth bits (bit i is code i's), then f16 d and m.

const CODE_BITS = 5u;

fn block_packed(block: u32) -> W8 {
    let c = code_words(block);
    let h = scale_word(block * 2u);
    let scale = unpack2x16float(scale_word(block * 2u + 1u));
    return W8((c & NIBBLES) | fifth_bits(h), ((c >> vec4<u32>(4u)) & NIBBLES) | fifth_bits(h >> 16u), scale.x, scale.y);
}
