// import: codes, block_minimum, dot_small
// Q4_1: value = d · code + m. codes: one vec4<u32> per block of 32 values; byte i holds codes i (low) and i + 16
// (high). scales: one word per block, f16 d and m.

const CODE_BITS = 4u;

fn block_packed(block: u32) -> W8 {
    let c = code_words(block);
    let scale = unpack2x16float(scale_word(block));
    return W8(c & NIBBLES, (c >> vec4<u32>(4u)) & NIBBLES, scale.x, scale.y);
}
