// import: codes, block_offset, fifth_bits, dot_small
// Q5_0: value = d · (code - 16). codes: one vec4<u32> per block of 32 values; byte i holds the lower four bits of
// codes i (low) and i + 16 (high). scales: two words per block, the fifth bits (bit i is code i's) and f16 d.

const CODE_OFFSET = 16i;
const CODE_BITS = 5u;

fn block_packed(block: u32) -> W8 {
    let c = code_words(block);
    let h = scale_word(block * 2u);
    let scale = unpack2x16float(scale_word(block * 2u + 1u)).x;
    return W8((c & NIBBLES) | fifth_bits(h), ((c >> vec4<u32>(4u)) & NIBBLES) | fifth_bits(h >> 16u), scale);
}
