// import: codes, block_offset, dot_small
// Q4_0: value = d · (code - 8). codes: one vec4<u32> per block of 32 values; byte i holds codes i (low) and i + 16
// (high). scales: f16 d, two blocks a word.

const CODE_OFFSET = 8i;
const CODE_BITS = 4u;

fn block_packed(block: u32) -> W8 {
    let c = code_words(block);
    let scale = unpack2x16float(scale_word(block >> 1u))[block & 1u];
    return W8(c & NIBBLES, (c >> vec4<u32>(4u)) & NIBBLES, scale);
}
